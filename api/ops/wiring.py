"""The console is wired here, beside resources.py, because a process without OPS_CLAIM has nothing of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from relaykit.api.auth.cross_site import CrossSiteCheck
from relaykit.api.ops.console import Console, Sources
from relaykit.api.ops.operator_check import OperatorCheck
from relaykit.shared.claim_rule import ClaimRule
from relaykit.shared.clocks import Clocks
from relaykit.shared.journal import Journals, JournalTtl
from relaykit.shared.journal.times import JournalTimes
from relaykit.shared.operating.acts import Acts
from relaykit.shared.operating.audit import Audit
from relaykit.shared.operating.database_figures import DatabaseFigures
from relaykit.shared.operating.operator_queue import OperatorQueue
from relaykit.shared.operating.queue_figures import QueueFigures
from relaykit.shared.operating.run_details import RunReader
from relaykit.shared.operating.run_holders import RunHolders
from relaykit.shared.operating.run_lists import RunLists
from relaykit.shared.postgres.database import Database
from relaykit.shared.queue.worker_registry import WorkerRegistry
from relaykit.shared.redis.client import open_redis
from relaykit.shared.settings import Settings


@asynccontextmanager
async def opened_console(
    settings: Settings, database: Database, clocks: Clocks
) -> AsyncIterator[Console | None]:
    """None where OPS_CLAIM is not set. `database` is open; `clocks` are those that the process compares."""
    if settings.ops_claim is None:
        yield None
        return
    content = settings.ops_content_claim
    check = OperatorCheck(
        ClaimRule.parse(settings.ops_claim),
        None if content is None else ClaimRule.parse(content),
        CrossSiteCheck(settings.model_copy(update={"cors_origins": ()})),
    )
    async with open_redis(settings.redis_url, deployment=settings.deployment, connections=1) as redis:
        journals, registry, audit = (
            Journals(redis, JournalTtl.of(settings)),
            WorkerRegistry(redis),
            Audit(database),
        )
        reader = RunReader(database, journals)
        sources = Sources(
            lists=RunLists(database),
            reader=reader,
            holders=RunHolders(redis),
            times=JournalTimes(redis),
            registry=registry,
            figures=QueueFigures(redis, database, registry),
            database_figures=DatabaseFigures(database),
            clocks=clocks,
            audit=audit,
        )
        acts = Acts(settings, database, reader, journals, OperatorQueue(redis), registry, audit)
        yield Console(check, sources, acts)
