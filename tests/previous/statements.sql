-- All that the processes of the release before say to PostgreSQL. Written by `python -m tests.previous`.

-- name: shared.attachment_objects._FIND
SELECT id, tenant, owner, data, declared_bytes, object_key FROM attachments WHERE id = $1;

-- name: shared.attachment_objects._NOTE_GARBAGE
INSERT INTO attachment_garbage (object_key, due_at) VALUES ($1, now() + $2 * interval '1 second');

-- name: shared.attachment_objects._COMPLETE
WITH completed AS (
    UPDATE attachments SET object_key = $2, size_bytes = $3, uploaded_at = now()
    WHERE id = $1 AND uploaded_at IS NULL
    RETURNING id
), kept AS (
    DELETE FROM attachment_garbage WHERE object_key = $2 AND EXISTS (SELECT FROM completed)
)
SELECT EXISTS (SELECT FROM completed) AS completed, EXISTS (SELECT FROM attachments WHERE id = $1) AS found;

-- name: shared.attachment_objects._FORGET_GARBAGE
DELETE FROM attachment_garbage WHERE object_key = $1;

-- name: shared.attachment_objects._DUE_GARBAGE
SELECT object_key FROM attachment_garbage WHERE due_at <= now() ORDER BY due_at LIMIT $1;

-- name: shared.attachment_objects._POSTPONE_GARBAGE
UPDATE attachment_garbage SET due_at = now() + $2 * interval '1 second' WHERE object_key = $1;

-- name: shared.attachments._INSERT
INSERT INTO attachments (id, tenant, owner, data, declared_bytes) VALUES ($1, $2, $3, $4, $5);

-- name: shared.attachments._DELETE
DELETE FROM attachments WHERE id = $1 AND tenant = $2 AND owner = $3 RETURNING object_key;

-- name: shared.attachments._DELETE_UNSENT
DELETE FROM attachments WHERE id IN (
    SELECT id FROM attachments
    WHERE thread_id IS NULL AND declared_bytes IS NOT NULL AND created_at < now() - $1 * interval '1 second'
    ORDER BY created_at LIMIT $2
    FOR UPDATE SKIP LOCKED
);

-- name: shared.database, line 159
SELECT migration_id FROM _yoyo_migration;

-- name: shared.database, line 125
SELECT 1;

-- name: shared.runs_sql.INSERT
INSERT INTO runs (id, tenant, owner, thread_id, kind, input, context, token, anchor_item_id, status,
                  idempotency_key, request_hash)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12);

-- name: shared.runs_sql.BY_ID
SELECT id, tenant, owner, thread_id, kind, status, attempt, handed_back, anchor_item_id, input, context,
    token, cancel_requested, error, request_hash FROM runs WHERE id = $1 AND tenant = $2 AND owner = $3;

-- name: shared.runs_sql.BY_KEY
SELECT id, tenant, owner, thread_id, kind, status, attempt, handed_back, anchor_item_id, input, context,
    token, cancel_requested, error, request_hash FROM runs WHERE tenant = $1 AND owner = $2 AND idempotency_key = $3;

-- name: shared.runs_sql.ACTIVE
SELECT id, tenant, owner, thread_id, kind, status, attempt, handed_back, anchor_item_id, input, context,
    token, cancel_requested, error, request_hash FROM runs
WHERE tenant = $1 AND owner = $2 AND thread_id = $3 AND status IN ('waiting', 'queued', 'running')
ORDER BY (status = 'waiting'), seq LIMIT 1;

-- name: shared.runs_sql.UNENDED
SELECT id, tenant, owner, thread_id, kind, status, attempt, handed_back, anchor_item_id, input, context,
    token, cancel_requested, error, request_hash FROM runs
WHERE tenant = $1 AND owner = $2 AND thread_id = $3 AND status IN ('waiting', 'queued', 'running')
    AND ($4::text IS NULL OR seq < (SELECT seq FROM runs WHERE id = $4))
ORDER BY (status = 'waiting') DESC, seq DESC;

-- name: shared.runs_sql.ANSWERING
SELECT id, tenant, owner, thread_id, kind, status, attempt, handed_back, anchor_item_id, input, context,
    token, cancel_requested, error, request_hash FROM runs
WHERE tenant = $1 AND owner = $2 AND thread_id = $3 AND status IN ('waiting', 'queued', 'running')
    AND kind IN ('threads.create', 'threads.add_user_message', 'threads.retry_after_item')
    AND input ->> 'item_id' = $4
ORDER BY seq LIMIT 1;

-- name: shared.runs_sql.START
UPDATE runs SET attempt = attempt + 1, status = 'running', started_at = coalesce(started_at, now())
WHERE id = $1 AND status = ANY ($2)
RETURNING id, tenant, owner, thread_id, kind, status, attempt, handed_back, anchor_item_id, input, context,
    token, cancel_requested, error, request_hash;

-- name: shared.runs_sql.STATUS
SELECT status, attempt, error FROM runs WHERE id = $1;

-- name: shared.runs_sql.FINISH
UPDATE runs SET status = $3, error = $4, ended_at = now(), token = NULL
WHERE id = $1 AND attempt = $2 AND status = ANY ($5)
RETURNING tenant, owner, thread_id;

-- name: shared.runs_sql.PROMOTE
UPDATE runs SET status = 'queued'
WHERE id = (
    SELECT id FROM runs
    WHERE tenant = $1 AND owner = $2 AND thread_id = $3 AND status = 'waiting'
    ORDER BY seq LIMIT 1 FOR UPDATE
) AND NOT EXISTS (
    SELECT FROM runs
    WHERE tenant = $1 AND owner = $2 AND thread_id = $3 AND status IN ('queued', 'running')
)
RETURNING id, tenant, owner, thread_id, kind, status, attempt, handed_back, anchor_item_id, input, context,
    token, cancel_requested, error, request_hash;

-- name: shared.runs_sql.WAITING_INPUTS
SELECT input FROM runs
WHERE tenant = $1 AND owner = $2 AND thread_id = $3 AND status = 'waiting';

-- name: shared.runs_sql.HAND_BACK
UPDATE runs SET status = 'queued', handed_back = handed_back + 1
WHERE id = $1 AND attempt = $2 AND status = 'running'
RETURNING id;

-- name: shared.runs_sql.REQUEST_CANCEL
UPDATE runs SET
    cancel_requested = true,
    status = CASE WHEN status = 'running' THEN status ELSE 'cancelled' END,
    ended_at = CASE WHEN status = 'running' THEN ended_at ELSE now() END,
    token = CASE WHEN status = 'running' THEN token ELSE NULL END
WHERE id = $1 AND status IN ('waiting', 'queued', 'running')
RETURNING status;

-- name: shared.runs_sql.ORPHANED
SELECT id FROM runs
WHERE status = 'queued' AND queued_at < now() - $1 * interval '1 second'
ORDER BY queued_at LIMIT $2;

-- name: shared.runs_sql.THREAD_LOCK
SELECT pg_advisory_xact_lock(hashtextextended($1 || chr(31) || $2 || chr(31) || $3, 0));

-- name: shared.runs_sql.SET_ANCHOR
UPDATE runs SET anchor_item_id = $2 WHERE id = $1;

-- name: shared.store_sql.LOAD_THREAD
SELECT data FROM threads WHERE id = $1 AND tenant = $2 AND owner = $3;

-- name: shared.store_sql.SAVE_THREAD
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
    EXISTS (SELECT FROM run WHERE attempt > $6) AS fenced;

-- name: shared.store_sql.THREADS_ASC
SELECT id, data FROM threads WHERE tenant = $1 AND owner = $2 ORDER BY seq LIMIT $3;

-- name: shared.store_sql.THREADS_DESC
SELECT id, data FROM threads WHERE tenant = $1 AND owner = $2 ORDER BY seq DESC LIMIT $3;

-- name: shared.store_sql.THREADS_ASC_AFTER
SELECT id, data FROM threads
WHERE tenant = $1 AND owner = $2
    AND seq > (SELECT seq FROM threads WHERE id = $4 AND tenant = $1 AND owner = $2)
ORDER BY seq LIMIT $3;

-- name: shared.store_sql.THREADS_DESC_AFTER
SELECT id, data FROM threads
WHERE tenant = $1 AND owner = $2
    AND seq < (SELECT seq FROM threads WHERE id = $4 AND tenant = $1 AND owner = $2)
ORDER BY seq DESC LIMIT $3;

-- name: shared.store_sql.LOCK_THREAD
WITH run AS MATERIALIZED (SELECT attempt FROM runs WHERE id = $4 FOR KEY SHARE),
thread AS MATERIALIZED (
    SELECT id FROM threads WHERE id = $1 AND tenant = $2 AND owner = $3 FOR UPDATE
)
SELECT EXISTS (SELECT FROM thread) AS found, EXISTS (SELECT FROM run WHERE attempt > $5) AS fenced;

-- name: shared.store_sql.DELETE_THREAD
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
DELETE FROM threads WHERE id = $1 AND tenant = $2 AND owner = $3;

-- name: shared.store_sql.WRITE_ITEM
WITH thread AS MATERIALIZED (
    SELECT id FROM threads WHERE id = $1 AND tenant = $2 AND owner = $3 FOR NO KEY UPDATE
), run AS MATERIALIZED (
    SELECT attempt FROM runs WHERE id = $6 FOR KEY SHARE
), written AS (
    INSERT INTO items (thread_id, tenant, owner, id, data)
    SELECT thread.id, $2, $3, $4, $5 FROM thread
    WHERE NOT EXISTS (SELECT FROM run WHERE attempt > $7)
    ON CONFLICT (thread_id, id) DO UPDATE SET data = excluded.data
)
SELECT EXISTS (SELECT FROM thread) AS found, EXISTS (SELECT FROM run WHERE attempt > $7) AS fenced;

-- name: shared.store_sql.LOAD_ITEM
SELECT data FROM items WHERE thread_id = $1 AND tenant = $2 AND owner = $3 AND id = $4;

-- name: shared.store_sql.ITEMS_ASC
SELECT id, data FROM items WHERE thread_id = $1 AND tenant = $2 AND owner = $3 ORDER BY seq LIMIT $4;

-- name: shared.store_sql.ITEMS_DESC
SELECT id, data FROM items WHERE thread_id = $1 AND tenant = $2 AND owner = $3 ORDER BY seq DESC LIMIT $4;

-- name: shared.store_sql.ITEMS_ASC_AFTER
SELECT id, data FROM items
WHERE thread_id = $1 AND tenant = $2 AND owner = $3
    AND seq > (SELECT seq FROM items WHERE thread_id = $1 AND tenant = $2 AND owner = $3 AND id = $5)
ORDER BY seq LIMIT $4;

-- name: shared.store_sql.ITEMS_DESC_AFTER
SELECT id, data FROM items
WHERE thread_id = $1 AND tenant = $2 AND owner = $3
    AND seq < (SELECT seq FROM items WHERE thread_id = $1 AND tenant = $2 AND owner = $3 AND id = $5)
ORDER BY seq DESC LIMIT $4;

-- name: shared.store_sql.NEWEST_ITEM
SELECT id FROM items WHERE thread_id = $1 AND tenant = $2 AND owner = $3 ORDER BY seq DESC LIMIT 1;

-- name: shared.store_sql.DELETE_ITEM
WITH run AS MATERIALIZED (
    SELECT attempt FROM runs WHERE id = $5 FOR KEY SHARE
), deleted AS (
    DELETE FROM items
    WHERE thread_id = $1 AND tenant = $2 AND owner = $3 AND id = $4
        AND NOT EXISTS (SELECT FROM run WHERE attempt > $6)
)
SELECT EXISTS (SELECT FROM threads WHERE id = $1 AND tenant = $2 AND owner = $3) AS found,
    EXISTS (SELECT FROM run WHERE attempt > $6) AS fenced;

-- name: shared.store_sql.DELETE_ITEMS_AFTER
WITH run AS MATERIALIZED (
    SELECT attempt FROM runs WHERE id = $6 FOR KEY SHARE
), anchor AS (
    SELECT seq FROM items WHERE thread_id = $1 AND tenant = $2 AND owner = $3 AND id = $4
), deleted AS (
    DELETE FROM items
    WHERE thread_id = $1 AND tenant = $2 AND owner = $3
        AND ($4::text IS NULL OR seq > (SELECT seq FROM anchor))
        AND id <> ALL ($5::text[])
        AND NOT EXISTS (SELECT FROM run WHERE attempt > $7)
    RETURNING id, seq
)
SELECT EXISTS (SELECT FROM threads WHERE id = $1 AND tenant = $2 AND owner = $3)
        AND ($4::text IS NULL OR EXISTS (SELECT FROM anchor)) AS found,
    EXISTS (SELECT FROM run WHERE attempt > $7) AS fenced,
    ARRAY (SELECT id FROM deleted ORDER BY seq) AS ids;

-- name: shared.store_sql.MOVE_TO_END
WITH run AS MATERIALIZED (
    SELECT attempt FROM runs WHERE id = $5 FOR KEY SHARE
), moved AS (
    UPDATE items SET seq = DEFAULT
    WHERE thread_id = $1 AND tenant = $2 AND owner = $3 AND id = $4
        AND NOT EXISTS (SELECT FROM run WHERE attempt > $6)
    RETURNING id
)
SELECT EXISTS (SELECT FROM moved) AS found, EXISTS (SELECT FROM run WHERE attempt > $6) AS fenced;

-- name: shared.store_sql.LOAD_ATTACHMENT
SELECT data, uploaded_at IS NOT NULL AS uploaded FROM attachments WHERE id = $1 AND tenant = $2 AND owner = $3;

-- name: shared.store_sql.SAVE_ATTACHMENT
INSERT INTO attachments (id, tenant, owner, data, thread_id)
SELECT $1, $2, $3, $4, $5
WHERE $5::text IS NULL OR EXISTS (SELECT FROM threads WHERE id = $5 AND tenant = $2 AND owner = $3)
ON CONFLICT (id) DO UPDATE
SET data = excluded.data, thread_id = coalesce(excluded.thread_id, attachments.thread_id)
WHERE attachments.tenant = excluded.tenant AND attachments.owner = excluded.owner
RETURNING id;

-- name: shared.store_sql.DELETE_ATTACHMENT
DELETE FROM attachments WHERE id = $1 AND tenant = $2 AND owner = $3 RETURNING id;
