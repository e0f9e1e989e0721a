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

THREADS_ASC: Final = prepared("""
SELECT id, data FROM threads WHERE tenant = $1 AND owner = $2 ORDER BY seq LIMIT $3
""")
THREADS_DESC: Final = prepared("""
SELECT id, data FROM threads WHERE tenant = $1 AND owner = $2 ORDER BY seq DESC LIMIT $3
""")
THREADS_ASC_AFTER: Final = """
SELECT id, data FROM threads
WHERE tenant = $1 AND owner = $2
    AND seq > (SELECT seq FROM threads WHERE id = $4 AND tenant = $1 AND owner = $2)
ORDER BY seq LIMIT $3
"""
THREADS_DESC_AFTER: Final = """
SELECT id, data FROM threads
WHERE tenant = $1 AND owner = $2
    AND seq < (SELECT seq FROM threads WHERE id = $4 AND tenant = $1 AND owner = $2)
ORDER BY seq DESC LIMIT $3
"""

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

HAS_ITEMS: Final = """
SELECT count(*) = cardinality($4::text[]) AS all_there FROM items
WHERE thread_id = $1 AND tenant = $2 AND owner = $3 AND id = ANY ($4)
"""

ITEMS_ASC: Final = prepared("""
SELECT id, data FROM items WHERE thread_id = $1 AND tenant = $2 AND owner = $3 ORDER BY seq LIMIT $4
""")
ITEMS_DESC: Final = prepared("""
SELECT id, data FROM items WHERE thread_id = $1 AND tenant = $2 AND owner = $3 ORDER BY seq DESC LIMIT $4
""")
ITEMS_ASC_AFTER: Final = """
SELECT id, data FROM items
WHERE thread_id = $1 AND tenant = $2 AND owner = $3
    AND seq > (SELECT seq FROM items WHERE thread_id = $1 AND tenant = $2 AND owner = $3 AND id = $5)
ORDER BY seq LIMIT $4
"""
ITEMS_DESC_AFTER: Final = """
SELECT id, data FROM items
WHERE thread_id = $1 AND tenant = $2 AND owner = $3
    AND seq < (SELECT seq FROM items WHERE thread_id = $1 AND tenant = $2 AND owner = $3 AND id = $5)
ORDER BY seq DESC LIMIT $4
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
