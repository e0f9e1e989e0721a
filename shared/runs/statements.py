"""The statements of Runs. Whatever a run belongs to is found by tenant and owner, but for what a worker does by id."""

from __future__ import annotations

from typing import Final

from relaykit.shared.threads import undo_statements as undo

COLUMNS: Final = """id, tenant, owner, thread_id, kind, status, attempt, handed_back, anchor_item_id, input, context,
    token, cancel_requested, error, request_hash, idempotency_key, max_attempts"""

ADMIT: Final = "SELECT admit_run($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)"
ADMIT_MESSAGE: Final = (
    "SELECT admit_message($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)"
)

BY_ID: Final = f"SELECT {COLUMNS} FROM runs WHERE id = $1 AND tenant = $2 AND owner = $3"  # noqa: S608
BY_KEY: Final = f"SELECT {COLUMNS} FROM runs WHERE tenant = $1 AND owner = $2 AND idempotency_key = $3"  # noqa: S608

_SAME_BODY = "tenant = $1 AND owner = $2 AND request_hash = $3 AND idempotency_key IS NULL"

UNRECEIVED: Final = f"""
SELECT {COLUMNS} FROM (
    SELECT {COLUMNS}, received_at FROM runs
    WHERE {_SAME_BODY} AND queued_at > now() - $4 * interval '1 second'
    ORDER BY seq DESC LIMIT 1
) AS newest
WHERE received_at IS NULL
"""  # noqa: S608

SAME_BODY: Final = f"""
SELECT {COLUMNS} FROM runs
WHERE {_SAME_BODY} AND (ended_at IS NULL OR ended_at > now() - $4 * interval '1 second')
ORDER BY seq DESC LIMIT $5
"""  # noqa: S608

NOTE_RECEIVED: Final = """
WITH free AS (
    SELECT id, received_at FROM runs WHERE id = ANY ($1) FOR NO KEY UPDATE SKIP LOCKED
), noted AS (
    UPDATE runs SET received_at = now() FROM free WHERE runs.id = free.id AND free.received_at IS NULL
)
SELECT id FROM free
"""

# Each of the two has a small index of its own. One condition for both would read all runs that the thread ever had.
_ACTIVE = "tenant = $1 AND owner = $2 AND thread_id = $3 AND status IN ('queued', 'running')"
_WAITING = "tenant = $1 AND owner = $2 AND thread_id = $3 AND status = 'waiting'"

# Between the two stands the run that has ended with a client tool call whose output its thread awaits.
ACTIVE: Final = f"""
SELECT {COLUMNS}, awaited_item, awaited_seconds FROM (
    (SELECT 1 AS place, {COLUMNS}, NULL::text AS awaited_item, NULL::double precision AS awaited_seconds
     FROM runs WHERE {_ACTIVE})
    UNION ALL
    (SELECT 2, {COLUMNS}, awaited_item, awaited_seconds
     FROM runs JOIN (
        SELECT run_id, item_id AS awaited_item,
            greatest(0, extract(epoch FROM until_at - now()))::double precision AS awaited_seconds
        FROM awaited_calls WHERE tenant = $1 AND owner = $2 AND thread_id = $3
     ) AS awaited ON runs.id = awaited.run_id)
    UNION ALL
    (SELECT 3, {COLUMNS}, NULL, NULL FROM runs WHERE {_WAITING} ORDER BY seq LIMIT 1)
) AS unended
ORDER BY place LIMIT 1
"""  # noqa: S608

UNENDED_COUNT: Final = """
SELECT
    (SELECT count(*) FROM runs WHERE tenant = $1 AND owner = $2 AND status IN ('queued', 'running'))
    + (SELECT count(*) FROM runs WHERE tenant = $1 AND owner = $2 AND status = 'waiting')
"""

UNENDED: Final = f"""
SELECT {COLUMNS} FROM (
    (SELECT {COLUMNS}, seq FROM runs WHERE {_ACTIVE})
    UNION ALL
    (SELECT {COLUMNS}, seq FROM runs WHERE {_WAITING})
) AS unended
WHERE $4::text IS NULL OR seq < (SELECT seq FROM runs WHERE id = $4)
ORDER BY (status = 'waiting') DESC, seq DESC
"""  # noqa: S608

ANSWERING: Final = f"""
SELECT {COLUMNS} FROM (
    (SELECT {COLUMNS}, seq FROM runs WHERE {_ACTIVE})
    UNION ALL
    (SELECT {COLUMNS}, seq FROM runs WHERE {_WAITING})
) AS unended
WHERE kind IN ('threads.create', 'threads.add_user_message', 'threads.retry_after_item')
    AND input ->> 'item_id' = $4
ORDER BY seq LIMIT 1
"""  # noqa: S608

# With what our store has of the run's thread and of its anchor, which a first attempt is about to ask for.
# A row that is running has an attempt that was lost: $3 says whether that may be left uncounted, $4 how many may be in
# all. A run that has no attempt left by a limit of its own, or was forbidden the next, is not executed again for it.
START: Final = f"""
WITH started AS (
    UPDATE runs SET attempt = attempt + 1, status = 'running', started_at = coalesce(started_at, now()),
        handed_back = handed_back + (
            $3 AND status = 'running' AND handed_back < $4 AND coalesce(attempt - handed_back < max_attempts, true)
        )::int
    WHERE id = $1 AND status = ANY ($2)
    RETURNING {COLUMNS}
)
SELECT {COLUMNS}, (
        SELECT data FROM threads
        WHERE threads.id = started.thread_id AND threads.tenant = started.tenant AND threads.owner = started.owner
    ) AS thread, (
        SELECT data FROM items
        WHERE items.thread_id = started.thread_id AND items.id = started.anchor_item_id
            AND items.tenant = started.tenant AND items.owner = started.owner
    ) AS anchor
FROM started
"""  # noqa: S608

STATUS: Final = "SELECT status, attempt, error FROM runs WHERE id = $1"

FINISH: Final = f"""
WITH ended AS (
    UPDATE runs SET status = $3, error = $4, ended_at = now(), token = NULL
    WHERE id = $1 AND attempt = $2 AND status = ANY ($5)
    RETURNING tenant, owner, thread_id
), {undo.FORGET}
SELECT tenant, owner, thread_id FROM ended
"""  # noqa: S608

FINISH_ALONE: Final = f"""
WITH finished AS MATERIALIZED (
    SELECT finish_run($1, $2, $3, $4, $5, $6, $7, $8) AS outcome
), ended AS MATERIALIZED (
    SELECT FROM finished WHERE outcome = 'ended'
), {undo.FORGET}
SELECT outcome FROM finished
"""  # noqa: S608

PROMOTE: Final = f"""
UPDATE runs SET status = 'queued'
WHERE id = (
    SELECT id FROM runs
    WHERE tenant = $1 AND owner = $2 AND thread_id = $3 AND status = 'waiting'
    ORDER BY seq LIMIT 1 FOR UPDATE
) AND NOT EXISTS (
    SELECT FROM runs
    WHERE tenant = $1 AND owner = $2 AND thread_id = $3 AND status IN ('queued', 'running')
) AND NOT EXISTS (
    SELECT FROM awaited_calls WHERE tenant = $1 AND owner = $2 AND thread_id = $3
)
RETURNING {COLUMNS}
"""  # noqa: S608

LATER_INPUTS: Final = """
SELECT input FROM runs
WHERE tenant = $1 AND owner = $2 AND thread_id = $3 AND seq > (SELECT seq FROM runs WHERE id = $4)
"""

HAND_BACK: Final = """
UPDATE runs SET status = 'queued', handed_back = handed_back + 1
WHERE id = $1 AND attempt = $2 AND status = 'running'
RETURNING id
"""

REQUEST_CANCEL: Final = f"""
WITH cancelled AS (
    UPDATE runs SET
        cancel_requested = true,
        status = CASE WHEN status = 'running' THEN status ELSE 'cancelled' END,
        ended_at = CASE WHEN status = 'running' THEN ended_at ELSE now() END,
        token = CASE WHEN status = 'running' THEN token ELSE NULL END
    WHERE id = $1 AND status IN ('waiting', 'queued', 'running')
    RETURNING status
), ended AS (
    SELECT FROM cancelled WHERE status = 'cancelled'
), {undo.FORGET}
SELECT status FROM cancelled
"""  # noqa: S608

STATUSES: Final = "SELECT id, status, attempt FROM runs WHERE id = ANY ($1)"

FORBID_NEXT_ATTEMPT: Final = """
UPDATE runs SET max_attempts = attempt - handed_back WHERE id = $1 AND attempt = $2 RETURNING id
"""

SET_ANCHOR: Final = "UPDATE runs SET anchor_item_id = $2 WHERE id = $1"
SET_INPUT: Final = "UPDATE runs SET input = $2 WHERE id = $1"
