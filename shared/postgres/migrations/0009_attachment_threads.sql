-- The threads whose messages show an attachment: it goes with the last of them. attachments.thread_id names one of
-- them, as before; where that thread is deleted and another is left, it names the other.
-- What the release before sends is here from the next message on that takes it.
-- depends: 0008_undo

CREATE TABLE attachment_threads (
    attachment_id   text NOT NULL REFERENCES attachments (id) ON DELETE CASCADE,
    thread_id       text NOT NULL REFERENCES threads (id) ON DELETE CASCADE,
    PRIMARY KEY (attachment_id, thread_id)
);
CREATE INDEX attachment_threads_by_thread ON attachment_threads (thread_id);
