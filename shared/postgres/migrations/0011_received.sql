-- Whether a client has had something of the run, so that the same body, sent again without a key, is another message.
-- Redis is told at once, and may lose it; the row keeps it. Empty it says nothing, as with the release before.
-- depends: 0010_awaited_calls

ALTER TABLE runs ADD COLUMN received_at timestamptz;
