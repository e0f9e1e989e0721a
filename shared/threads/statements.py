"""The statements of PostgresStore.

Parameters that recur: first the thread or attachment, then tenant and owner, which stand in every statement; last,
where it writes, the fence: the caller's run and attempt, both NULL outside a worker.

The fence. `run` locks the row of the writer's run FOR KEY SHARE and reads its newest version, so that only two
orders are possible. Either the attempt is raised first: the statement waits for that commit, sees the higher number
and writes nothing. Or the statement comes first: the UPDATE that raises the attempt waits until what was written is
committed, and the next attempt, which begins by deleting, finds it. A plain read could see the old number and commit
after that deletion. FOR KEY SHARE conflicts with an UPDATE of `attempt` and with no other, because `attempt` is a
key column (index runs_attempt): a change of status, a stop and other writers of the run do not wait. A run without a
row has no fence. A transaction that raises an attempt must not hold a lock on a thread's row in that transaction.
"""

from __future__ import annotations

from typing import Final

from relaykit.shared.postgres.sessions import prepared
from relaykit.shared.threads import undo_statements as undo

_ONE_ITEM = "thread_id = $1 AND tenant = $2 AND owner = $3 AND id = $4"

LOAD_THREAD: Final = prepared("SELECT data FROM threads WHERE id = $1 AND tenant = $2 AND owner = $3")

# Over the row that the caller has seen ($5), if it still is that, and no title over one that was given meanwhile ($6);
# else the row comes back as it is. The run of a worker may change its thread but not bring it back after the user has
# deleted it, nor any thread where the run itself was erased.
SAVE_THREAD: Final = prepared(f"""
WITH run AS MATERIALIZED (
    SELECT attempt, thread_id, started_at, ended_at FROM runs WHERE id = $10 FOR KEY SHARE
), thread AS MATERIALIZED (
    SELECT data, coalesce(titled_at > (SELECT started_at FROM run), false) AS is_titled FROM threads
    WHERE id = $1 AND tenant = $2 AND owner = $3
    FOR NO KEY UPDATE
), updated AS (
    UPDATE threads SET data = $4, updated_at = now(),
        titled_at = CASE WHEN $6 AND $11::integer IS NULL THEN clock_timestamp() ELSE titled_at END
    WHERE id = $1 AND tenant = $2 AND owner = $3
        AND EXISTS (SELECT FROM thread WHERE data::text = $5 AND NOT ($6 AND is_titled))
        AND NOT EXISTS (SELECT FROM run WHERE attempt > $11)
    RETURNING id
), inserted AS (
    INSERT INTO threads (id, tenant, owner, data)
    SELECT $1, $2, $3, $4
    WHERE $1::text IS NOT NULL
        AND NOT EXISTS (SELECT FROM thread)
        AND NOT EXISTS (SELECT FROM run WHERE attempt > $11 OR thread_id = $1)
        AND ($11::integer IS NULL OR EXISTS (SELECT FROM run))
    ON CONFLICT (id) DO UPDATE SET data = excluded.data, updated_at = now()
    WHERE threads.tenant = excluded.tenant AND threads.owner = excluded.owner
    RETURNING id
), {undo.KEEP_FIELDS}
SELECT EXISTS (SELECT FROM thread) OR EXISTS (SELECT FROM inserted) AS found,
    EXISTS (SELECT FROM run WHERE attempt > $11) AS fenced,
    EXISTS (SELECT FROM updated) OR EXISTS (SELECT FROM inserted) AS saved,
    (SELECT data FROM thread) AS data,
    (SELECT is_titled FROM thread) AS is_titled
""")  # noqa: S608


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


def _page_by_use(entries: str) -> str:
    """As `_page`, by the last use; each row has also its place in this order, which the next page's cursor names."""
    return f"""
SELECT id, updated_at, seq, CASE WHEN place = 1 OR place <= $3 AND bytes <= $4 THEN data END AS data
FROM (
    SELECT id, updated_at, seq, data,
        row_number() OVER page AS place, sum(octet_length(data::text)) OVER page AS bytes
    FROM (
        SELECT id, updated_at, seq, data FROM {entries} ORDER BY updated_at DESC, seq DESC LIMIT $3 + 1
    ) AS entries
    WINDOW page AS (ORDER BY updated_at DESC, seq DESC ROWS UNBOUNDED PRECEDING)
) AS placed
ORDER BY place
"""  # noqa: S608


THREADS_BY_USE: Final = prepared(_page_by_use(_THREADS))
THREADS_BY_USE_AFTER: Final = _page_by_use(
    f"{_THREADS} AND (updated_at, seq) < ($5::timestamptz, $6::bigint)"
)

LOCK_THREAD: Final = """
WITH run AS MATERIALIZED (SELECT attempt FROM runs WHERE id = $4 FOR KEY SHARE),
thread AS MATERIALIZED (
    SELECT id FROM threads WHERE id = $1 AND tenant = $2 AND owner = $3 FOR UPDATE
)
SELECT EXISTS (SELECT FROM thread) AS found, EXISTS (SELECT FROM run WHERE attempt > $5) AS fenced
"""

# Ended runs that someone holds are left to the reaper: waiting for them under the thread's lock could deadlock.
# An attachment that another thread shows is that thread's from now on. What is left of the runs goes by GoneRuns.
DELETE_THREAD: Final = """
WITH gone AS (
    INSERT INTO gone_runs (run_id)
    SELECT id FROM runs WHERE thread_id = $1 AND tenant = $2 AND owner = $3
    ON CONFLICT DO NOTHING
), stopped AS (
    UPDATE runs SET cancel_requested = true
    WHERE thread_id = $1 AND tenant = $2 AND owner = $3 AND status IN ('waiting', 'queued', 'running')
), forgotten AS (
    DELETE FROM runs WHERE id IN (
        SELECT id FROM runs
        WHERE thread_id = $1 AND tenant = $2 AND owner = $3 AND status IN ('completed', 'failed', 'cancelled')
        FOR UPDATE SKIP LOCKED
    )
), other AS MATERIALIZED (
    SELECT attachment_id, threads.id AS thread_id FROM attachment_threads
    JOIN threads ON threads.id = attachment_threads.thread_id
    WHERE attachment_id IN (SELECT id FROM attachments WHERE thread_id = $1) AND threads.id <> $1
    FOR KEY SHARE OF threads
), moved AS (
    UPDATE attachments SET thread_id = other.thread_id FROM other WHERE attachments.id = other.attachment_id
)
DELETE FROM threads WHERE id = $1 AND tenant = $2 AND owner = $3
"""


def _write_item(with_it: str = "") -> str:
    """The thread's lock makes the order of `seq` that of the commits, so that a page never skips an item.

    `with_it` are CTEs more: they have to ask for `thread`, and for the fence.
    """
    return f"""
WITH thread AS MATERIALIZED (
    SELECT id FROM threads WHERE id = $1 AND tenant = $2 AND owner = $3 FOR NO KEY UPDATE
), run AS MATERIALIZED (
    SELECT attempt, thread_id, ended_at FROM runs WHERE id = $6 FOR KEY SHARE
), {undo.keeping(_ONE_ITEM, "hashtextextended($5, 0)", "$6", "$7")}, written AS (
    INSERT INTO items (thread_id, tenant, owner, id, data, run_id)
    SELECT thread.id, $2, $3, $4, $5::json, coalesce($6, '') FROM thread
    WHERE {undo.OLDER_FIRST} AND NOT EXISTS (SELECT FROM run WHERE attempt > $7)
    ON CONFLICT (thread_id, id) DO UPDATE SET data = excluded.data
){with_it}
SELECT EXISTS (SELECT FROM thread) AS found, EXISTS (SELECT FROM run WHERE attempt > $7) AS fenced
"""  # noqa: S608


WRITE_ITEM: Final = prepared(_write_item())
# And what the message shows: one that a server has copied into the thread was written without SAVE_ATTACHMENT.
WRITE_MESSAGE: Final = _write_item(""", shown AS (
    UPDATE attachments SET thread_id = coalesce(thread_id, $1)
    WHERE id = ANY ($8::text[]) AND tenant = $2 AND owner = $3
        AND EXISTS (SELECT FROM thread) AND NOT EXISTS (SELECT FROM run WHERE attempt > $7)
    RETURNING id
), counted AS (
    DELETE FROM unsent_attachments WHERE attachment_id IN (SELECT id FROM shown) AND tenant = $2 AND owner = $3
), noted AS (
    INSERT INTO attachment_threads (attachment_id, thread_id) SELECT id, $1 FROM shown ON CONFLICT DO NOTHING
)""")

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

DELETE_ITEM: Final = f"""
WITH run AS MATERIALIZED (
    SELECT attempt, thread_id, ended_at FROM runs WHERE id = $5 FOR KEY SHARE
), {undo.keeping(_ONE_ITEM, "NULL", "$5", "$6")}, deleted AS (
    DELETE FROM items
    WHERE {_ONE_ITEM} AND {undo.OLDER_FIRST} AND NOT EXISTS (SELECT FROM run WHERE attempt > $6)
)
SELECT EXISTS (SELECT FROM threads WHERE id = $1 AND tenant = $2 AND owner = $3) AS found,
    EXISTS (SELECT FROM run WHERE attempt > $6) AS fenced
"""  # noqa: S608

_NEWER = "thread_id = $1 AND tenant = $2 AND owner = $3 AND seq > (SELECT seq FROM item)"

DELETE_NEWER: Final = f"""
WITH run AS MATERIALIZED (
    SELECT attempt, thread_id, ended_at FROM runs WHERE id = $5 FOR KEY SHARE
), item AS MATERIALIZED (
    SELECT seq FROM items WHERE {_ONE_ITEM}
), {undo.keeping(_NEWER, "NULL", "$5", "$6")}, deleted AS (
    DELETE FROM items
    WHERE {_NEWER} AND {undo.OLDER_FIRST} AND NOT EXISTS (SELECT FROM run WHERE attempt > $6)
)
SELECT EXISTS (SELECT FROM item) AS found, EXISTS (SELECT FROM run WHERE attempt > $6) AS fenced
"""  # noqa: S608

MOVE_TO_END: Final = f"""
WITH run AS MATERIALIZED (
    SELECT attempt, thread_id, ended_at FROM runs WHERE id = $5 FOR KEY SHARE
), {undo.keeping(_ONE_ITEM, "hashtextextended(data::text, 0)", "$5", "$6")}, moved AS (
    UPDATE items SET seq = DEFAULT
    WHERE {_ONE_ITEM} AND {undo.OLDER_FIRST} AND NOT EXISTS (SELECT FROM run WHERE attempt > $6)
    RETURNING id
)
SELECT EXISTS (SELECT FROM moved) AS found, EXISTS (SELECT FROM run WHERE attempt > $6) AS fenced
"""  # noqa: S608

LOAD_ATTACHMENT: Final = """
SELECT data, uploaded_at IS NOT NULL AS uploaded FROM attachments WHERE id = $1 AND tenant = $2 AND owner = $3
"""

# It stays the first thread's that took it; each that takes it is noted.
SAVE_ATTACHMENT: Final = """
WITH saved AS (
    INSERT INTO attachments (id, tenant, owner, data, thread_id)
    SELECT $1, $2, $3, $4, $5
    WHERE $5::text IS NULL OR EXISTS (SELECT FROM threads WHERE id = $5 AND tenant = $2 AND owner = $3)
    ON CONFLICT (id) DO UPDATE
    SET data = excluded.data, thread_id = coalesce(attachments.thread_id, excluded.thread_id)
    WHERE attachments.tenant = excluded.tenant AND attachments.owner = excluded.owner
    RETURNING id, thread_id
), noted AS (
    INSERT INTO attachment_threads (attachment_id, thread_id)
    SELECT id, thread_id FROM saved WHERE thread_id IS NOT NULL
    UNION SELECT id, $5 FROM saved WHERE $5 IS NOT NULL
    ON CONFLICT DO NOTHING
)
SELECT id FROM saved
"""

IS_SENT: Final = "SELECT thread_id FROM attachments WHERE id = $1 AND tenant = $2 AND owner = $3"

DELETE_ATTACHMENT: Final = "DELETE FROM attachments WHERE id = $1 AND tenant = $2 AND owner = $3 RETURNING id"
