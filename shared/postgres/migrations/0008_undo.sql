-- What an attempt found in its thread before it wrote over something that its run had not added: its next attempt puts
-- that back. The rows go when the run ends; what the release before writes is in none of them.
-- depends: 0007_unsent_attachments

-- The item is as it was, with its place and its writer; `written` a digest of what the attempt wrote in its place, NULL
-- where it removed it. An item that is another one by now was changed by somebody else.
CREATE TABLE undo_items (
    run_id      text NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    item_id     text NOT NULL,
    seq         bigint NOT NULL,
    data        json NOT NULL,
    writer      text,
    written     bigint,
    PRIMARY KEY (run_id, item_id)
);

-- One row for each field of the thread, a key of its metadata being one. `before` and `after` are JSON in the code's own
-- spelling, empty where the field is not there; `field` is a JSON list of names, which may be long.
CREATE TABLE undo_thread_fields (
    run_id      text NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    field       text NOT NULL,
    before      text NOT NULL,
    after       text NOT NULL
);
CREATE UNIQUE INDEX undo_thread_fields_key ON undo_thread_fields (run_id, hashtextextended(field, 0));

-- When somebody who is no run gave the thread its title: a run that has begun before then leaves it alone.
ALTER TABLE threads ADD COLUMN titled_at timestamptz;
