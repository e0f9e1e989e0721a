-- What most requests and most runs need, in one statement each instead of five.
-- depends: 0004_item_run

-- Admits a message: its thread if that is new, its item and its run, or nothing of them; says what admit_run says, or
-- 'repeated': the same body came without a key not longer ago than that, or 'thread_gone'. The item's id is the anchor.
--
-- The order of the locks is that of the store: the thread's row, then the run's.
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

-- Ends a run whose newest attempt is this and behind which none waits, and says 'ended'; else it changes nothing and
-- says 'waiting': the one behind it is to be queued in the same transaction, or 'fenced'.
CREATE FUNCTION finish_run(
    _id text, _tenant text, _owner text, _thread_id text, _attempt integer, _status text, _error text, _sources text[]
) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended(_tenant || chr(31) || _owner || chr(31) || _thread_id, 0));
    IF EXISTS (
        SELECT FROM runs
        WHERE tenant = _tenant AND owner = _owner AND thread_id = _thread_id AND status = 'waiting'
    ) THEN
        RETURN 'waiting';
    END IF;
    UPDATE runs SET status = _status, error = _error, ended_at = now(), token = NULL
    WHERE id = _id AND attempt = _attempt AND status = ANY (_sources);
    RETURN CASE WHEN FOUND THEN 'ended' ELSE 'fenced' END;
END
$$;
