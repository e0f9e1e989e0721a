"""The statements of PostgresStore.

Parameters that recur: first the thread or attachment, then tenant and owner, which stand in every statement; last,
where it writes, the fence: the caller's run and attempt, both NULL outside a worker.

The fence. `run` locks the row of the writer's run FOR KEY SHARE and reads its newest version, so that only two
orders are possible. Either the attempt is raised first: the statement waits for that commit, sees the higher number
and writes nothing. Or the statement comes first: the UPDATE that raises the attempt waits until what was written is
committed, and the next attempt, which begins by deleting, finds it. A plain read could see the old number and commit
after that deletion. FOR KEY SHARE conflicts with an UPDATE of `attempt` and with no other, because `attempt` is a
key column (index runs_attempt): a change of status, a stop and other writers of the run do not wait. A run without a
row has no fence. Whoever raises an attempt must not hold a lock on a thread's row in that transaction.
"""

from __future__ import annotations

from typing import Final

from shared.database import prepared

LOAD_THREAD: Final = prepared("SELECT data FROM threads WHERE id = $1 AND tenant = $2 AND owner = $3")

# The run of a worker may change its thread but not bring it back after the user has deleted it.
SAVE_THREAD: Final = prepared("""
WITH run AS MATERIALIZED (
    SELECT attempt, thread_id FROM runs WHERE id = $5 FOR KEY SHARE
), updated AS (
    UPDATE threads SET data = $4, updated_at = now()
    WHERE id = $1 AND tenant = $2 AND owner = $3 AND NOT EXISTS (SELECT FROM run WHERE attempt > $6)
    RETURNING id
), inserted AS (
    INSERT INTO threads (id, tenant, owner, data)
    SELECT $1, $2, $3, $4
    WHERE $1::text IS NOT NULL
        AND NOT EXISTS (SELECT FROM updated)
        AND NOT EXISTS (SELECT FROM run WHERE attempt > $6 OR thread_id = $1)
    ON CONFLICT (id) DO UPDATE SET data = excluded.data, updated_at = now()
    WHERE threads.tenant = excluded.tenant AND threads.owner = excluded.owner
    RETURNING id
)
SELECT EXISTS (SELECT FROM updated) OR EXISTS (SELECT FROM inserted) AS found,
    EXISTS (SELECT FROM run WHERE attempt > $6) AS fenced
""")


def _page(entries: str, order: str, limit: str, max_bytes: str) -> str:
    """A page of `entries`, and the ids of those after it that were looked at: at least one, where there are more.

    What is not in the page comes without its data, so that its bytes stay in PostgreSQL: the entry after the last, and
    all from the one on with which the page would have more than its bytes. The first is in it however large it is.
    """
    return f"""
SELECT id, CASE WHEN place = 1 OR place <= {limit} AND bytes <= {max_bytes} THEN data END AS data
FROM (
    SELECT id, data, row_number() OVER page AS place, sum(octet_length(data::text)) OVER page AS bytes
    FROM (SELECT id, seq, data FROM {entries} ORDER BY seq {order} LIMIT {limit} + 1) AS entries
    WINDOW page AS (ORDER BY seq {order} ROWS UNBOUNDED PRECEDING)
) AS placed
ORDER BY place
"""  # noqa: S608


_THREADS = "threads WHERE tenant = $1 AND owner = $2"
_THREAD_SEQ = "(SELECT seq FROM threads WHERE id = $5 AND tenant = $1 AND owner = $2)"

THREADS_ASC: Final = prepared(_page(_THREADS, "ASC", "$3", "$4"))
THREADS_DESC: Final = prepared(_page(_THREADS, "DESC", "$3", "$4"))
THREADS_ASC_AFTER: Final = _page(f"{_THREADS} AND seq > {_THREAD_SEQ}", "ASC", "$3", "$4")
THREADS_DESC_AFTER: Final = _page(f"{_THREADS} AND seq < {_THREAD_SEQ}", "DESC", "$3", "$4")

LOCK_THREAD: Final = """
WITH run AS MATERIALIZED (SELECT attempt FROM runs WHERE id = $4 FOR KEY SHARE),
thread AS MATERIALIZED (
    SELECT id FROM threads WHERE id = $1 AND tenant = $2 AND owner = $3 FOR UPDATE
)
SELECT EXISTS (SELECT FROM thread) AS found, EXISTS (SELECT FROM run WHERE attempt > $5) AS fenced
"""

# Ended runs that someone holds are left to the reaper: waiting for them under the thread's lock could deadlock.
DELETE_THREAD: Final = """
WITH stopped AS (
    UPDATE runs SET cancel_requested = true
    WHERE thread_id = $1 AND tenant = $2 AND owner = $3 AND status IN ('waiting', 'queued', 'running')
), forgotten AS (
    DELETE FROM runs WHERE id IN (
        SELECT id FROM runs
        WHERE thread_id = $1 AND tenant = $2 AND owner = $3 AND status IN ('completed', 'failed', 'cancelled')
        FOR UPDATE SKIP LOCKED
    )
)
DELETE FROM threads WHERE id = $1 AND tenant = $2 AND owner = $3
"""

# The thread's lock makes the order of `seq` that of the commits, so that a page never skips an item.
WRITE_ITEM: Final = prepared("""
WITH thread AS MATERIALIZED (
    SELECT id FROM threads WHERE id = $1 AND tenant = $2 AND owner = $3 FOR NO KEY UPDATE
), run AS MATERIALIZED (
    SELECT attempt FROM runs WHERE id = $6 FOR KEY SHARE
), written AS (
    INSERT INTO items (thread_id, tenant, owner, id, data, run_id)
    SELECT thread.id, $2, $3, $4, $5, coalesce($6, '') FROM thread
    WHERE NOT EXISTS (SELECT FROM run WHERE attempt > $7)
    ON CONFLICT (thread_id, id) DO UPDATE SET data = excluded.data
)
SELECT EXISTS (SELECT FROM thread) AS found, EXISTS (SELECT FROM run WHERE attempt > $7) AS fenced
""")

LOAD_ITEM: Final = prepared("""
SELECT data FROM items WHERE thread_id = $1 AND tenant = $2 AND owner = $3 AND id = $4
""")

# A run does not read the messages that wait for its turn to end: it would answer them, and then their own runs again.
_ITEMS = """items
WHERE thread_id = $1 AND tenant = $2 AND owner = $3 AND ($6::text IS NULL OR id <> ALL (ARRAY (
    SELECT anchor_item_id FROM runs
    WHERE tenant = $2 AND owner = $3 AND thread_id = $1 AND status = 'waiting' AND kind = 'threads.add_user_message'
        AND anchor_item_id IS NOT NULL
)))"""
_ITEM_SEQ = "(SELECT seq FROM items WHERE thread_id = $1 AND tenant = $2 AND owner = $3 AND id = $7)"

ITEMS_ASC: Final = prepared(_page(_ITEMS, "ASC", "$4", "$5"))
ITEMS_DESC: Final = prepared(_page(_ITEMS, "DESC", "$4", "$5"))
ITEMS_ASC_AFTER: Final = _page(f"{_ITEMS} AND seq > {_ITEM_SEQ}", "ASC", "$4", "$5")
ITEMS_DESC_AFTER: Final = _page(f"{_ITEMS} AND seq < {_ITEM_SEQ}", "DESC", "$4", "$5")

# A scalar subquery with a LIMIT finds each of them by its key, where a list might be looked for in the whole thread.
COUNT_ITEMS: Final = """
SELECT count((
    SELECT true FROM items WHERE thread_id = $1 AND tenant = $2 AND owner = $3 AND items.id = wanted.id LIMIT 1
)) AS count
FROM unnest($4::text[]) AS wanted (id)
"""

DELETE_ITEM: Final = """
WITH run AS MATERIALIZED (
    SELECT attempt FROM runs WHERE id = $5 FOR KEY SHARE
), deleted AS (
    DELETE FROM items
    WHERE thread_id = $1 AND tenant = $2 AND owner = $3 AND id = $4
        AND NOT EXISTS (SELECT FROM run WHERE attempt > $6)
)
SELECT EXISTS (SELECT FROM threads WHERE id = $1 AND tenant = $2 AND owner = $3) AS found,
    EXISTS (SELECT FROM run WHERE attempt > $6) AS fenced
"""

DELETE_NEWER: Final = """
WITH run AS MATERIALIZED (
    SELECT attempt FROM runs WHERE id = $5 FOR KEY SHARE
), item AS MATERIALIZED (
    SELECT seq FROM items WHERE thread_id = $1 AND tenant = $2 AND owner = $3 AND id = $4
), deleted AS (
    DELETE FROM items
    WHERE thread_id = $1 AND tenant = $2 AND owner = $3 AND seq > (SELECT seq FROM item)
        AND NOT EXISTS (SELECT FROM run WHERE attempt > $6)
)
SELECT EXISTS (SELECT FROM item) AS found, EXISTS (SELECT FROM run WHERE attempt > $6) AS fenced
"""

# What has no run_id at all was written by the version before, which told a run's items by what came after its anchor.
TAKE_BACK: Final = """
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

MOVE_TO_END: Final = """
WITH run AS MATERIALIZED (
    SELECT attempt FROM runs WHERE id = $5 FOR KEY SHARE
), moved AS (
    UPDATE items SET seq = DEFAULT
    WHERE thread_id = $1 AND tenant = $2 AND owner = $3 AND id = $4
        AND NOT EXISTS (SELECT FROM run WHERE attempt > $6)
    RETURNING id
)
SELECT EXISTS (SELECT FROM moved) AS found, EXISTS (SELECT FROM run WHERE attempt > $6) AS fenced
"""

LOAD_ATTACHMENT: Final = """
SELECT data, uploaded_at IS NOT NULL AS uploaded FROM attachments WHERE id = $1 AND tenant = $2 AND owner = $3
"""

SAVE_ATTACHMENT: Final = """
INSERT INTO attachments (id, tenant, owner, data, thread_id)
SELECT $1, $2, $3, $4, $5
WHERE $5::text IS NULL OR EXISTS (SELECT FROM threads WHERE id = $5 AND tenant = $2 AND owner = $3)
ON CONFLICT (id) DO UPDATE
SET data = excluded.data, thread_id = coalesce(excluded.thread_id, attachments.thread_id)
WHERE attachments.tenant = excluded.tenant AND attachments.owner = excluded.owner
RETURNING id
"""

DELETE_ATTACHMENT: Final = "DELETE FROM attachments WHERE id = $1 AND tenant = $2 AND owner = $3 RETURNING id"
