"""What the commands work with, opened: the database and Redis of the environment's settings, as far as they answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from relaykit.shared.attachments.store import open_attachment_objects
from relaykit.shared.clocks import Clocks
from relaykit.shared.errors import (
    ContextTimeout,
    DatabaseUnavailable,
    QueueUnavailable,
    RelaykitError,
    SchemaOutdated,
    ServerBlocked,
    Stopping,
    StorageUnavailable,
)
from relaykit.shared.gone_runs import GoneRuns
from relaykit.shared.journal import JournalReader, Journals, JournalTtl
from relaykit.shared.journal.erasing import JournalEraser
from relaykit.shared.operating.act_errors import RetryFailed, RunHeld
from relaykit.shared.operating.acts import Acts
from relaykit.shared.operating.audit import Audit
from relaykit.shared.operating.database_figures import DatabaseFigures
from relaykit.shared.operating.erasure import Erasure
from relaykit.shared.operating.export import Export
from relaykit.shared.operating.operator_queue import OperatorQueue
from relaykit.shared.operating.queue_figures import QueueFigures
from relaykit.shared.operating.run_details import RunReader
from relaykit.shared.operating.run_holders import RunHolders
from relaykit.shared.operating.run_lists import RunLists
from relaykit.shared.operating.thread_reading import ThreadReader
from relaykit.shared.postgres.database import Database
from relaykit.shared.queue.worker_registry import WorkerRegistry
from relaykit.shared.redis.check import RedisCheck, reach
from relaykit.shared.redis.client import open_redis
from relaykit.shared.settings import Settings

FAILED = 1
BAD_USAGE = 2
AWAY = (
    ContextTimeout,
    DatabaseUnavailable,
    QueueUnavailable,
    RunHeld,
    SchemaOutdated,
    ServerBlocked,
    Stopping,
    StorageUnavailable,
)
"""What is no mistake of the caller's: status 1."""


def status_of(error: RelaykitError) -> int:
    """What the site's code raised is a failure, and what has no code of its own."""
    is_failure = isinstance(error, (*AWAY, RetryFailed)) or error.code == RelaykitError.code
    return FAILED if is_failure else BAD_USAGE


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorServices:
    """What an operator's command uses."""

    settings: Settings
    database: Database
    database_problem: RelaykitError | None
    """Why PostgreSQL cannot be asked."""
    redis_problem: RelaykitError | None
    """Why Redis cannot be asked."""
    lists: RunLists
    reader: RunReader
    holders: RunHolders
    figures: QueueFigures
    database_figures: DatabaseFigures
    clocks: Clocks
    registry: WorkerRegistry
    audit: Audit
    acts: Acts
    threads: ThreadReader
    journals: Journals
    queue: OperatorQueue
    gone_runs: GoneRuns

    def export(self) -> Export:
        """Raises SettingsError for what is said of attachments."""
        return Export(self.threads, open_attachment_objects(self.settings, self.database))

    def erasure(self) -> Erasure:
        """Raises SettingsError likewise."""
        return Erasure(
            settings=self.settings,
            database=self.database,
            reader=self.threads,
            journals=self.journals,
            queue=self.queue,
            gone_runs=self.gone_runs,
            objects=open_attachment_objects(self.settings, self.database),
            audit=self.audit,
        )

    def need(self, *, database: bool = True, redis: bool = True) -> None:
        """Raises what is wrong with a service that the command cannot do without."""
        for needed, problem in ((database, self.database_problem), (redis, self.redis_problem)):
            if needed and problem is not None:
                raise problem


def few_connections(settings: Settings) -> Settings:
    """A command asks one thing at a time."""
    return settings.model_copy(update={"database_pool_min": 1, "database_pool_max": 2})


@asynccontextmanager
async def opened_services(
    settings: Settings, database: Database | None = None
) -> AsyncIterator[OperatorServices]:
    """Raises SettingsError; a service that is away is told by `OperatorServices.need`."""
    database = Database(few_connections(settings), is_warmed=False) if database is None else database
    async with AsyncExitStack() as stack:
        database_problem = redis_problem = None
        try:
            await stack.enter_async_context(database)
        except (DatabaseUnavailable, SchemaOutdated) as error:
            database_problem = error
        redis = await stack.enter_async_context(
            open_redis(settings.redis_url, deployment=settings.deployment, connections=1)
        )
        try:
            if database_problem is None:
                await RedisCheck(redis, database.identity).start()
            else:
                await reach(redis)
        except QueueUnavailable as error:
            redis_problem = error
        registry, audit = WorkerRegistry(redis), Audit(database)
        reader = RunReader(database, JournalReader(redis))
        journals, queue = Journals(redis, JournalTtl.of(settings)), OperatorQueue(redis)
        yield OperatorServices(
            settings=settings,
            database=database,
            database_problem=database_problem,
            redis_problem=redis_problem,
            lists=RunLists(database),
            reader=reader,
            holders=RunHolders(redis),
            figures=QueueFigures(redis, database, registry),
            database_figures=DatabaseFigures(database),
            clocks=Clocks(redis, database),
            registry=registry,
            audit=audit,
            acts=Acts(settings, database, reader, journals, queue, registry, audit),
            threads=ThreadReader(database),
            journals=journals,
            queue=queue,
            gone_runs=GoneRuns(database, JournalEraser(redis)),
        )
