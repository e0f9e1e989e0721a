-- Admits a message in one statement: writes its thread where that is new, its item and its run, or nothing of them.
--
-- It answers as admit_run does, and besides:
--
--   repeated     the same body came without an Idempotency-Key at most _repeat_seconds ago; 0 does not look for one
--   thread_gone  the thread is not new, and its owner has none of this id
--
-- _new_thread is NULL where the thread exists. The item gets the anchor's id, and an empty run_id because no attempt
-- has added it. The lock of the body comes first, so that of two simultaneous requests with one body the second finds
-- the first. Then the order of the locks is the store's: the thread's row, and the locks of admit_run.

CREATE FUNCTION admit_message(
    _id text, _tenant text, _owner text, _thread_id text, _kind text, _input json, _context json, _token bytea,
    _anchor_item_id text, _idempotency_key text, _request_hash bytea, _max_attempts integer,
    _may_wait boolean, _caller_runs integer,
    _new_thread json, _item json, _repeat_seconds double precision
) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    _outcome text;
BEGIN
    IF _idempotency_key IS NULL AND _repeat_seconds > 0 THEN
        PERFORM pg_advisory_xact_lock(hashtextextended(
            'body' || chr(31) || _tenant || chr(31) || _owner || chr(31) || encode(_request_hash, 'hex'), 0
        ));
        IF EXISTS (
            SELECT FROM runs
            WHERE tenant = _tenant AND owner = _owner AND request_hash = _request_hash AND idempotency_key IS NULL
                AND queued_at > now() - _repeat_seconds * interval '1 second'
        ) THEN
            RETURN 'repeated';
        END IF;
    END IF;
    IF _new_thread IS NULL THEN
        PERFORM FROM threads WHERE id = _thread_id AND tenant = _tenant AND owner = _owner FOR NO KEY UPDATE;
        IF NOT FOUND THEN
            RETURN 'thread_gone';
        END IF;
    END IF;
    _outcome := admit_run(
        _id, _tenant, _owner, _thread_id, _kind, _input, _context, _token, _anchor_item_id, _idempotency_key,
        _request_hash, _max_attempts, _may_wait, _caller_runs
    );
    IF _outcome NOT IN ('queued', 'waiting') THEN
        RETURN _outcome;
    END IF;
    IF _new_thread IS NOT NULL THEN
        INSERT INTO threads (id, tenant, owner, data) VALUES (_thread_id, _tenant, _owner, _new_thread);
    END IF;
    INSERT INTO items (thread_id, tenant, owner, id, data, run_id)
    VALUES (_thread_id, _tenant, _owner, _anchor_item_id, _item, '');
    RETURN _outcome;
END
$$;
