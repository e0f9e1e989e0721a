-- Client tool calls whose output a browser owes: the turn of their thread is not over, and what is sent meanwhile waits.
-- The release before knows of none: what it admits and promotes does not wait for a browser.
-- depends: 0009_attachment_threads

-- One a thread. `run_id` ended with the call `item_id`; from `until_at` on the reaper gives the call up.
CREATE TABLE awaited_calls (
    tenant      text NOT NULL,
    owner       text NOT NULL,
    thread_id   text NOT NULL,
    run_id      text NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    item_id     text NOT NULL,
    until_at    timestamptz NOT NULL,
    PRIMARY KEY (tenant, owner, thread_id)
);
CREATE INDEX awaited_calls_by_run ON awaited_calls (run_id);
CREATE INDEX awaited_calls_by_age ON awaited_calls (until_at);

-- As before (0002), and what is admitted while the thread awaits a call's output waits, or is 'busy' where it may not.
-- The output itself ends the wait and goes before all that waits.
--
-- The thread's lock comes first. Else a run could end with a call between the look at awaited_calls and the INSERT. The
-- order of the locks is: the thread's row, the caller's, the thread's, the runs'.
--
-- A wait that is a minute overdue counts for nothing: after a rollback no reaper gives it up.
CREATE OR REPLACE FUNCTION admit_run(
    _id text, _tenant text, _owner text, _thread_id text, _kind text, _input json, _context json, _token bytea,
    _anchor_item_id text, _idempotency_key text, _request_hash bytea, _max_attempts integer,
    _may_wait boolean, _caller_runs integer
) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    _status text := 'queued';
BEGIN
    IF _caller_runs > 0 THEN
        PERFORM pg_advisory_xact_lock(hashtextextended('caller' || chr(31) || _tenant || chr(31) || _owner, 0));
        IF _caller_runs <= (
            SELECT count(*) FROM runs WHERE tenant = _tenant AND owner = _owner AND status IN ('queued', 'running')
        ) + (
            SELECT count(*) FROM runs WHERE tenant = _tenant AND owner = _owner AND status = 'waiting'
        ) THEN
            RETURN 'too_many';
        END IF;
    END IF;
    IF _kind <> 'threads.create' THEN
        -- the end of a run, which queues those that wait or begins to await a call, takes this lock too
        PERFORM pg_advisory_xact_lock(hashtextextended(_tenant || chr(31) || _owner || chr(31) || _thread_id, 0));
        IF _kind = 'threads.add_client_tool_output' THEN
            DELETE FROM awaited_calls WHERE tenant = _tenant AND owner = _owner AND thread_id = _thread_id;
        ELSIF EXISTS (
            SELECT FROM awaited_calls
            WHERE tenant = _tenant AND owner = _owner AND thread_id = _thread_id
                AND until_at > now() - interval '1 minute'
        ) THEN
            IF NOT _may_wait THEN
                RETURN 'busy';
            END IF;
            _status := 'waiting';
        END IF;
    END IF;
    LOOP
        INSERT INTO runs (id, tenant, owner, thread_id, kind, input, context, token, anchor_item_id, status,
                          idempotency_key, request_hash, max_attempts)
        VALUES (_id, _tenant, _owner, _thread_id, _kind, _input, _context, _token, _anchor_item_id, _status,
                _idempotency_key, _request_hash, _max_attempts)
        ON CONFLICT DO NOTHING;
        IF FOUND THEN
            RETURN _status;
        END IF;
        IF EXISTS (
            SELECT FROM runs WHERE tenant = _tenant AND owner = _owner AND idempotency_key = _idempotency_key
        ) THEN
            RETURN 'key_taken';
        END IF;
        IF NOT _may_wait THEN
            RETURN 'busy';
        END IF;
        IF _status = 'queued' THEN
            -- in two parts, each of which has a small index: together they would read all that the thread ever had
            _status := CASE WHEN EXISTS (
                SELECT FROM runs
                WHERE tenant = _tenant AND owner = _owner AND thread_id = _thread_id
                    AND status IN ('queued', 'running')
            ) OR EXISTS (
                SELECT FROM runs
                WHERE tenant = _tenant AND owner = _owner AND thread_id = _thread_id AND status = 'waiting'
            ) THEN 'waiting' ELSE 'queued' END;
        END IF;
    END LOOP;
END
$$;
