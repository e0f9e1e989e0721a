"""A database that has been in use for long: threads, items, attachments and runs, made by PostgreSQL itself.

One caller, `CALLER`, has a tenth of everything, and one thread that is very long. The rest is spread over a thousand
owners. A few runs are waiting, queued and running. Half of the threads were last used longer ago than OLD_DAYS, and
have their newest run left; the others have seven each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import psycopg

CALLER: Final = ("", "caller")
"""Tenant and owner."""
LONG_THREAD: Final = "thr_long"

OLD_DAYS: Final = 30
OWNERS: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How many rows."""

    runs: int
    """Of all threads but the long one."""
    long_items: int
    """Of the long thread."""
    long_runs: int
    active: int
    """Running, and as many queued, and as many waiting; of the long thread only the last one is running."""

    @property
    def threads(self) -> int:
        return self.runs // 4

    @property
    def parameters(self) -> dict[str, Any]:
        return {
            "runs": self.runs,
            "threads": self.threads,
            "long_items": self.long_items,
            "long_runs": self.long_runs,
            "active": self.active,
            "owners": OWNERS,
            "tenant": CALLER[0],
            "caller": CALLER[1],
            "long": LONG_THREAD,
        }


THREADS = """
INSERT INTO threads (id, tenant, owner, data, updated_at)
SELECT 'thr_' || n, %(tenant)s, CASE WHEN n %% 10 = 0 THEN %(caller)s ELSE 'owner_' || n %% %(owners)s END,
    json_build_object('id', 'thr_' || n, 'title', repeat('t', 40), 'status', json_build_object('type', 'active')),
    now() - (%(threads)s - n) * interval '60 days' / %(threads)s
FROM generate_series(1, %(threads)s) AS n
UNION ALL SELECT %(long)s, %(tenant)s, %(caller)s, '{}', now()
"""

ITEMS = """
INSERT INTO items (thread_id, tenant, owner, id, data, run_id)
SELECT thread_id, tenant, owner, id,
    json_build_object('id', id, 'type', 'assistant_message', 'content', repeat('x', 300)), run_id
FROM (
    SELECT threads.id AS thread_id, tenant, owner, threads.id || '_msg_' || n AS id, '' AS run_id
    FROM threads, generate_series(1, 2) AS n WHERE threads.id <> %(long)s
    UNION ALL
    SELECT %(long)s, %(tenant)s, %(caller)s, 'msg_' || n,
        CASE WHEN n %% 2 = 0 THEN '' ELSE 'run_long_' || n %% %(long_runs)s END
    FROM generate_series(1, %(long_items)s) AS n
) AS item
"""

ATTACHMENTS = """
INSERT INTO attachments (id, tenant, owner, thread_id, data, declared_bytes, size_bytes, object_key,
    uploaded_at, created_at)
SELECT 'atc_' || n, %(tenant)s, CASE WHEN n %% 10 = 0 THEN %(caller)s ELSE 'owner_' || n %% %(owners)s END,
    CASE WHEN n %% 50 = 0 THEN NULL ELSE 'thr_' || n END,
    json_build_object('id', 'atc_' || n, 'name', 'a.pdf'), 1000, 1000, 'key_' || n, now(),
    now() - (%(threads)s - n) * interval '60 days' / %(threads)s
FROM generate_series(1, %(threads)s) AS n
"""

# Each is shown by its thread, and every tenth one by the thread before too.
SHOWN = """
INSERT INTO attachment_threads (attachment_id, thread_id)
SELECT id, thread_id FROM attachments WHERE thread_id IS NOT NULL
UNION ALL SELECT 'atc_' || n, 'thr_' || n - 1 FROM generate_series(10, %(threads)s, 10) AS n
"""

UNSENT = """
INSERT INTO unsent_attachments (attachment_id, tenant, owner, declared_bytes, created_at)
SELECT id, tenant, CASE WHEN id LIKE '%%00' THEN %(caller)s ELSE 'unsent_' || id END, declared_bytes, created_at
FROM attachments
"""

UPLOADS = """
INSERT INTO attachment_uploads (attachment_id, object_key, ends_at)
SELECT id, object_key, now() FROM attachments
"""

GARBAGE = """
INSERT INTO attachment_garbage (object_key, due_at)
SELECT 'gone_' || n, now() + interval '1 hour' FROM generate_series(1, %(threads)s) AS n
"""

IMPORTED = """
INSERT INTO imported_threads (thread_id, tenant, owner, source_digest, stored_digest)
SELECT id, tenant, owner, 'x', 'y' FROM threads
"""

# Oldest first. Of the threads used last each has an active run; those that wait stand behind the running ones.
RUNS = """
INSERT INTO runs (id, tenant, owner, thread_id, kind, input, context, anchor_item_id, status, attempt, idempotency_key,
    request_hash, queued_at, started_at, ended_at)
SELECT id, %(tenant)s, owner, thread_id, 'threads.add_user_message',
    json_build_object('item_id', id || '_msg', 'stream_options', json_build_object('allow_cancel', true)),
    json_build_object('claims', json_build_object('sub', owner), 'locale', 'en', 'metadata', '{}'::json),
    id || '_msg', status, CASE WHEN status IN ('waiting', 'queued') THEN 0 ELSE 1 END,
    CASE WHEN n %% 2 = 0 THEN 'key_' || id END, sha256(id::bytea), at, at,
    CASE WHEN status NOT IN ('waiting', 'queued', 'running') THEN at END
FROM (
    SELECT n, 'run_' || thread || '_' || n AS id, 'thr_' || thread AS thread_id,
        CASE WHEN thread %% 10 = 0 THEN %(caller)s ELSE 'owner_' || thread %% %(owners)s END AS owner,
        CASE WHEN n < 7 OR thread <= %(threads)s - 2 * %(active)s THEN 'completed'
            WHEN thread <= %(threads)s - %(active)s THEN 'queued' ELSE 'running' END AS status,
        now() - (%(threads)s - thread + 1) * interval '60 days' / %(threads)s AS at
    FROM generate_series(1, %(threads)s) AS thread,
        generate_series(1, CASE WHEN thread <= %(threads)s / 2 THEN 1 ELSE 7 END) AS n
    UNION ALL
    SELECT n, 'run_waiting_' || n, 'thr_' || (%(threads)s - n),
        CASE WHEN (%(threads)s - n) %% 10 = 0 THEN %(caller)s ELSE 'owner_' || (%(threads)s - n) %% %(owners)s END,
        'waiting', now()
    FROM generate_series(0, %(active)s - 1) AS n
    UNION ALL
    SELECT n, 'run_long_' || n, %(long)s, %(caller)s,
        CASE WHEN n = %(long_runs)s THEN 'running' ELSE 'completed' END,
        now() - (%(long_runs)s - n) * interval '29 days' / %(long_runs)s
    FROM generate_series(1, %(long_runs)s) AS n
) AS run
"""

# Each running run has changed a few items, and some fields of its thread.
UNDO_ITEMS = """
INSERT INTO undo_items (run_id, item_id, seq, data, writer, written)
SELECT runs.id, items.id || CASE WHEN n = 1 THEN '' ELSE '_' || n END, items.seq, items.data,
    items.run_id, hashtextextended(items.data::text, 0)
FROM runs JOIN items ON items.thread_id = runs.thread_id,
    generate_series(1, CASE WHEN runs.thread_id = %(long)s THEN 1 ELSE 20 END) AS n
WHERE runs.status = 'running' AND (runs.thread_id <> %(long)s OR items.seq %% 500 = 0)
"""

UNDO_FIELDS = """
INSERT INTO undo_thread_fields (run_id, field, before, after)
SELECT id, '["metadata","key_' || n || '"]', '1', '2'
FROM runs, generate_series(1, 30) AS n WHERE status = 'running'
"""


OPERATOR_ACTS = """
INSERT INTO operator_acts (actor, act, target, outcome)
SELECT 'ann@host', 'cancel', id, 'cancelled' FROM runs
"""

# Of each thread in which nothing is active.
AWAITED_CALLS = """
INSERT INTO awaited_calls (tenant, owner, thread_id, run_id, item_id, until_at)
SELECT DISTINCT ON (tenant, owner, thread_id) tenant, owner, thread_id, id, id || '_msg', now() + interval '5 minutes'
FROM runs
WHERE thread_id NOT IN (SELECT thread_id FROM runs WHERE status IN ('waiting', 'queued', 'running'))
ORDER BY tenant, owner, thread_id, seq DESC
"""

# The oldest are of runs that go on.
GONE_RUNS = """
INSERT INTO gone_runs (run_id, deleted_at)
SELECT 'gone_' || n, now() - interval '1 hour' FROM generate_series(1, %(runs)s) AS n
UNION ALL SELECT id, now() - interval '2 hours' FROM runs WHERE status IN ('waiting', 'queued', 'running')
"""


def fill(database_url: str, size: Size) -> None:
    """Fills a migrated database with nothing in it, and has its statistics made."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off")
        for statement in (
            THREADS,
            ITEMS,
            ATTACHMENTS,
            SHOWN,
            UNSENT,
            UPLOADS,
            GARBAGE,
            IMPORTED,
            RUNS,
            UNDO_ITEMS,
            UNDO_FIELDS,
            AWAITED_CALLS,
            GONE_RUNS,
            OPERATOR_ACTS,
        ):
            connection.execute(statement, size.parameters)
        connection.execute("VACUUM ANALYZE")
