-- One statement that admits a run, under the caller's limit; how often a run may be executed.
-- depends: 0001_initial

ALTER TABLE runs ADD COLUMN max_attempts integer;
-- In two steps: a check that comes with its column reads the whole table while nobody else can.
ALTER TABLE runs ADD CONSTRAINT runs_max_attempts_check CHECK (max_attempts >= 1) NOT VALID;

-- Writes a run's row as queued, or as waiting behind the thread's active run, and says which; or writes nothing and
-- says why: 'busy' the thread has an active run and the run may not wait, 'key_taken' by another run, 'too_many' of
-- the caller's runs have not ended. _caller_runs 0 is no limit.
--
-- A function, not a statement: under READ COMMITTED each statement in it sees what was committed before it, so that
-- the count, behind the caller's lock, is exact under simultaneous requests. ON CONFLICT waits for a transaction that
-- has inserted the same thread or key and has not committed.
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
            -- the end of the active run, which queues those that wait, takes this lock too
            PERFORM pg_advisory_xact_lock(hashtextextended(_tenant || chr(31) || _owner || chr(31) || _thread_id, 0));
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
