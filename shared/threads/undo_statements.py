"""The statements that keep what an attempt writes over, and those that take an attempt back.

What a run has added itself says so in its `run_id`. Of anything else in its thread the attempt keeps, in the statement
that writes, what was there: the newest that is not its own, because an item that another writer has changed since the
attempt's last write is kept anew. It is locked before it is read, so that it is what the write meets.
"""

from __future__ import annotations

from typing import Final

_UNCHANGED: Final = "undo.written = hashtextextended(excluded.data::text, 0)"


def keeping(found: str, written: str, run: str, attempt: str) -> str:
    """Two CTEs: `older`, the items that `found` selects and the run has not added, and `kept`, which keeps them.

    Empty outside an attempt. What writes the items has to ask for `older` first: PostgreSQL does not say in which
    order it executes the parts of a statement, and the locks would pass over what it has just written.
    """
    return f"""older AS MATERIALIZED (
    SELECT id, seq, data, run_id, feedback FROM items
    WHERE {found} AND {attempt}::integer IS NOT NULL AND run_id IS DISTINCT FROM {run}
    FOR UPDATE
), kept AS (
    INSERT INTO undo_items AS undo (run_id, item_id, seq, data, writer, written, feedback)
    SELECT {run}, id, seq, data, run_id, {written}, feedback FROM older
    WHERE EXISTS (SELECT FROM run WHERE attempt <= {attempt} AND thread_id = $1 AND ended_at IS NULL)
    ON CONFLICT (run_id, item_id) DO UPDATE SET
        seq = CASE WHEN {_UNCHANGED} THEN undo.seq ELSE excluded.seq END,
        data = CASE WHEN {_UNCHANGED} THEN undo.data ELSE excluded.data END,
        writer = CASE WHEN {_UNCHANGED} THEN undo.writer ELSE excluded.writer END,
        written = excluded.written,
        feedback = excluded.feedback
)"""  # noqa: S608


OLDER_FIRST: Final = "(SELECT count(*) FROM older) IS NOT NULL"

# A field that another writer has changed since the run's last write is kept anew too.
KEEP_FIELDS: Final = """kept AS (
    INSERT INTO undo_thread_fields AS undo (run_id, field, before, after)
    SELECT $10, field, before, after
    FROM unnest($7::text[], $8::text[], $9::text[]) AS changed (field, before, after)
    WHERE $11::integer IS NOT NULL AND EXISTS (SELECT FROM updated)
        AND EXISTS (SELECT FROM run WHERE thread_id = $1 AND ended_at IS NULL)
    ON CONFLICT (run_id, hashtextextended(field, 0)) DO UPDATE SET
        before = CASE WHEN undo.after = excluded.before THEN undo.before ELSE excluded.before END,
        after = excluded.after
)"""

# What has no run_id at all was written by the version before, which told a run's items by what came after its anchor.
DELETE_ADDED: Final = """
WITH run AS MATERIALIZED (
    SELECT attempt FROM runs WHERE id = $6 FOR KEY SHARE
), deleted AS (
    DELETE FROM items
    WHERE thread_id = $1 AND tenant = $2 AND owner = $3
        AND (run_id = $6 OR run_id IS NULL AND id <> ALL ($5::text[]) AND (
            $4::text IS NULL
            OR seq > (SELECT seq FROM items WHERE thread_id = $1 AND tenant = $2 AND owner = $3 AND id = $4)
        ))
        AND NOT EXISTS (SELECT FROM run WHERE attempt > $7)
    RETURNING id, seq
)
SELECT EXISTS (SELECT FROM threads WHERE id = $1 AND tenant = $2 AND owner = $3) AS found,
    EXISTS (SELECT FROM run WHERE attempt > $7) AS fenced,
    ARRAY (SELECT id FROM deleted ORDER BY seq) AS ids
"""

# Only what is still as the run has written it. A join might compare all items of the thread. Feedback that came after
# the run's write is kept with what is put back.
DELETE_CHANGED: Final = """
WITH deleted AS (
    DELETE FROM items
    WHERE thread_id = $1 AND tenant = $2 AND owner = $3 AND id = ANY (ARRAY (
        SELECT item_id FROM undo_items
        WHERE run_id = $4 AND written = (
            SELECT hashtextextended(data::text, 0) FROM items
            WHERE thread_id = $1 AND tenant = $2 AND owner = $3 AND id = undo_items.item_id LIMIT 1
        )
    ))
    RETURNING id, feedback
), noted AS (
    UPDATE undo_items SET feedback = deleted.feedback FROM deleted
    WHERE run_id = $4 AND item_id = deleted.id AND undo_items.feedback IS DISTINCT FROM deleted.feedback
)
SELECT id FROM deleted
"""

PUT_BACK_ITEMS: Final = """
WITH undo AS (
    DELETE FROM undo_items WHERE run_id = $4 RETURNING item_id, seq, data, writer, written, feedback
)
INSERT INTO items (thread_id, tenant, owner, id, seq, data, run_id, feedback)
OVERRIDING SYSTEM VALUE
SELECT $1, $2, $3, item_id, seq, data, writer, feedback FROM undo
WHERE written IS NULL OR item_id = ANY ($5::text[])
ON CONFLICT (thread_id, id) DO NOTHING
RETURNING id
"""

TAKE_FIELDS: Final = """
WITH undo AS (
    DELETE FROM undo_thread_fields WHERE run_id = $4 RETURNING field, before, after
)
SELECT field, before, after,
    (SELECT data FROM threads WHERE id = $1 AND tenant = $2 AND owner = $3) AS data
FROM undo
"""

PUT_BACK_THREAD: Final = """
UPDATE threads SET data = $4, updated_at = now() WHERE id = $1 AND tenant = $2 AND owner = $3 RETURNING id
"""

# In the statement that ends the run: `ended` has a row where it did.
FORGET: Final = """forgotten_items AS (
    DELETE FROM undo_items WHERE run_id = $1 AND EXISTS (SELECT FROM ended)
), forgotten_fields AS (
    DELETE FROM undo_thread_fields WHERE run_id = $1 AND EXISTS (SELECT FROM ended)
)"""
