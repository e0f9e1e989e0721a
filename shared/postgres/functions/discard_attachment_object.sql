-- Marks the object of a deleted attachment as due for removal from the object store.
--
-- The trigger `attachments_discard` calls it after each attachment that is deleted and has an object, also where the
-- attachment goes with its thread. The object is removed by the reaper, because a transaction that is undone could not
-- bring an object back.

CREATE FUNCTION discard_attachment_object() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO attachment_garbage (object_key) VALUES (OLD.object_key)
    ON CONFLICT (object_key) DO UPDATE SET due_at = now();
    RETURN NULL;
END
$$;
