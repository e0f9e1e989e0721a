-- Ends a run that no run waits behind, and says what it found.
--
--   ended    the row has its end, and no token any more
--   waiting  a run waits behind it, so nothing was changed: the caller ends it by statements that also promote the
--            one that waits, in one transaction
--   fenced   another attempt has begun, or the run's status is none of _sources, so nothing was changed
--
-- _sources are the states from which _status can be reached. The thread's lock keeps a run from being admitted as
-- waiting between the check and the UPDATE, where its promotion would be missed.

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
