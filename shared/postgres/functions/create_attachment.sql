-- Writes an attachment that no message has yet, and says true; or writes nothing and says false, because of a limit.
--
-- The limits are the caller's: at most _max_count attachments that no message has, and at most _max_bytes in their
-- declared bytes and this one's. 0 is no limit. A caller who has none may create one of any size.
--
-- It is a function for the reason of admit_run: the count behind the caller's lock is exact under simultaneous
-- requests. An attachment that the release before has sent still has a row in unsent_attachments, and is recognised by
-- its thread.

CREATE FUNCTION create_attachment(
    _id text, _tenant text, _owner text, _data json, _declared_bytes bigint, _max_count integer, _max_bytes bigint
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    _count bigint;
    _bytes numeric;
BEGIN
    IF _max_count > 0 OR _max_bytes > 0 THEN
        PERFORM pg_advisory_xact_lock(hashtextextended('unsent' || chr(31) || _tenant || chr(31) || _owner, 0));
        SELECT count(*), coalesce(sum(unsent.declared_bytes), 0) INTO _count, _bytes
        FROM unsent_attachments AS unsent
        WHERE unsent.tenant = _tenant AND unsent.owner = _owner
            AND (SELECT thread_id FROM attachments WHERE id = unsent.attachment_id) IS NULL;
        IF _max_count > 0 AND _count >= _max_count
            OR _max_bytes > 0 AND _count > 0 AND _bytes + _declared_bytes > _max_bytes
        THEN
            RETURN false;
        END IF;
    END IF;
    INSERT INTO attachments (id, tenant, owner, data, declared_bytes)
    VALUES (_id, _tenant, _owner, _data, _declared_bytes);
    INSERT INTO unsent_attachments (attachment_id, tenant, owner, declared_bytes)
    VALUES (_id, _tenant, _owner, _declared_bytes);
    RETURN true;
END
$$;
