-- Attachments that no message has taken yet, counted for each caller, and the uploads that go on, one for each
-- attachment, over all API hosts. What the release before creates, sends and uploads is in neither table.
-- depends: 0006_garbage_by_age

CREATE TABLE unsent_attachments (
    attachment_id   text PRIMARY KEY REFERENCES attachments (id) ON DELETE CASCADE,
    tenant          text NOT NULL,
    owner           text NOT NULL,
    declared_bytes  bigint NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX unsent_attachments_by_owner ON unsent_attachments (tenant, owner);
CREATE INDEX unsent_attachments_by_age ON unsent_attachments (created_at);

-- The claim of an upload ends by itself, so that a host that dies blocks the link no longer than an upload may last.
CREATE TABLE attachment_uploads (
    attachment_id   text PRIMARY KEY REFERENCES attachments (id) ON DELETE CASCADE,
    object_key      text NOT NULL,
    ends_at         timestamptz NOT NULL
);

-- Writes an attachment that no message has yet, and says true; or writes nothing and says false: the caller has
-- _max_count of them, or their declared bytes and these would be more than _max_bytes. 0 is no limit. A caller who has
-- none may create one of any size.
--
-- A function, for the reason of admit_run: the count, behind the caller's lock, is exact under simultaneous requests.
-- The release before sends attachments without a word to unsent_attachments: their thread tells it.
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
