-- Admits a run: writes its row and says how, or writes nothing and says why.
--
--   queued     no run of the thread is before it: the caller may put its job on the queue
--   waiting    another run of the thread is before it, or the thread awaits the output of a client tool call: the end
--              of what it waits for promotes it
--   busy       it would have to wait, and _may_wait is false
--   key_taken  the caller has another run with this Idempotency-Key
--   too_many   the caller has _caller_runs runs that have not ended; 0 is no limit
--
-- The output of a client tool call ends its thread's wait, and goes before the runs that wait. A wait that is a minute
-- overdue is ignored, because after a rollback no reaper gives the call up.
--
-- It is a function because under READ COMMITTED each statement in a function sees what was committed before that
-- statement. So the count behind the caller's lock, and the check behind the thread's lock, are exact under
-- simultaneous requests. The order of the locks is: the thread's row, the caller's lock, the thread's lock, the runs'
-- rows. The thread's lock comes before the check of awaited_calls, because otherwise a run could end with a call
-- between the check and the INSERT.

CREATE FUNCTION admit_run(
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
        -- The end of a run takes this lock too: it promotes the run that waits, or begins to await a call.
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
            -- Each of the two has a small index. One condition for both would read every run of the thread.
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
