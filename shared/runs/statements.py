"""The statements of Runs. A run is found by tenant and owner, but where its ending has its row already."""

from __future__ import annotations

from typing import Final

from relaykit.shared.threads import undo_statements as undo

COLUMNS: Final = """id, tenant, owner, thread_id, kind, status, attempt, handed_back, anchor_item_id, input, context,
    token, cancel_requested, error, request_hash, idempotency_key, max_attempts"""

BY_ID: Final = f"SELECT {COLUMNS} FROM runs WHERE id = $1 AND tenant = $2 AND owner = $3"  # noqa: S608

# Each of the two has a small index of its own. One condition for both would read all runs that the thread ever had.
IS_ACTIVE: Final = "tenant = $1 AND owner = $2 AND thread_id = $3 AND status IN ('queued', 'running')"
IS_WAITING: Final = "tenant = $1 AND owner = $2 AND thread_id = $3 AND status = 'waiting'"

# Between the two stands the run that has ended with a client tool call whose output its thread awaits.
ACTIVE: Final = f"""
SELECT {COLUMNS}, awaited_item, awaited_seconds FROM (
    (SELECT 1 AS place, {COLUMNS}, NULL::text AS awaited_item, NULL::double precision AS awaited_seconds
     FROM runs WHERE {IS_ACTIVE})
    UNION ALL
    (SELECT 2, {COLUMNS}, awaited_item, awaited_seconds
     FROM runs JOIN (
        SELECT run_id, item_id AS awaited_item,
            greatest(0, extract(epoch FROM until_at - now()))::double precision AS awaited_seconds
        FROM awaited_calls WHERE tenant = $1 AND owner = $2 AND thread_id = $3
     ) AS awaited ON runs.id = awaited.run_id)
    UNION ALL
    (SELECT 3, {COLUMNS}, NULL, NULL FROM runs WHERE {IS_WAITING} ORDER BY seq LIMIT 1)
) AS unfinished
ORDER BY place LIMIT 1
"""  # noqa: S608

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
UPDATE runs SET status = 'queued', due_at = now()
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

# For a store that is not ours; where the thread is a row of ours, the statement that deletes it notes them.
NOTE_GONE: Final = """
INSERT INTO gone_runs (run_id)
SELECT id FROM runs WHERE tenant = $1 AND owner = $2 AND thread_id = $3
ON CONFLICT DO NOTHING
"""

SET_ANCHOR: Final = "UPDATE runs SET anchor_item_id = $2 WHERE id = $1"
SET_INPUT: Final = "UPDATE runs SET input = $2 WHERE id = $1"
