"""What the console answers: what the operators' commands print, asked for so that no poll costs the chat anything.

It has a connection of its own to Redis, and at most a few of the pool's to PostgreSQL at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeVar

from relaykit.api.ops.cached_answer import CachedAnswer
from relaykit.api.ops.operator_check import OperatorCheck
from relaykit.shared.clocks import Clocks
from relaykit.shared.errors import (
    DatabaseUnavailable,
    JournalGone,
    Overloaded,
    QueueUnavailable,
    RelaykitError,
)
from relaykit.shared.journal import Cursor
from relaykit.shared.journal.times import EntryTimes, JournalTimes
from relaykit.shared.operating import shapes
from relaykit.shared.operating.acts import Acts
from relaykit.shared.operating.audit import Audit
from relaykit.shared.operating.database_figures import DatabaseFigures
from relaykit.shared.operating.queue_figures import QueueFigures, QueueState
from relaykit.shared.operating.run_details import RunReader, ShownEvent
from relaykit.shared.operating.run_holders import RunHolders
from relaykit.shared.operating.run_lists import ListedRun, RunFilter, RunLists, RunPosition
from relaykit.shared.operating.shapes import Json
from relaykit.shared.queue.worker_registry import WorkerRegistry
from relaykit.shared.redis.client import retry_briefly
from relaykit.shared.runs.run import Status

KEPT_SECONDS: Final = 2.0
"""How old an answer may be that does not depend on who asks."""
ENDS_KEPT_SECONDS: Final = 30.0
"""The same of the ends within the hour, for which PostgreSQL reads every run of that hour."""
AT_ONCE: Final = 3
"""Lists, runs and pages of a journal that this process looks for at the same time: others wait."""
WAIT_SECONDS: Final = 5.0
"""How long they wait."""
REDIS_SECONDS: Final = 3.0
"""How long Redis may take for one thing, with the repeats of a call whose connection was lost."""
CALLERS_SHOWN: Final = 10
ACTS_SHOWN: Final = 20
MAX_ATTEMPTS_SHOWN: Final = 32
READ_AT_ONCE: Final = 20
MAX_PAGE_BYTES: Final = 1024 * 1024
"""A page of entries ends with the one that reaches it."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where the console looks. Everything raises DatabaseUnavailable or QueueUnavailable."""

    lists: RunLists
    reader: RunReader
    holders: RunHolders
    times: JournalTimes
    registry: WorkerRegistry
    figures: QueueFigures
    database_figures: DatabaseFigures
    clocks: Clocks
    """Those that the process compares by itself."""
    audit: Audit


class Console:
    def __init__(self, check: OperatorCheck, sources: Sources, acts: Acts) -> None:
        self.check = check
        self.sources = sources
        self.acts = acts
        self._reads = asyncio.Semaphore(AT_ONCE)
        self._overview = CachedAnswer(self._ask_overview, KEPT_SECONDS)
        self._ends = CachedAnswer(
            lambda: sources.lists.ended_lately(shapes.LATELY_SECONDS), ENDS_KEPT_SECONDS
        )
        self._callers = CachedAnswer(lambda: sources.figures.busiest(CALLERS_SHOWN), KEPT_SECONDS)
        self._workers = CachedAnswer(lambda: _ask_redis(sources.registry.workers), KEPT_SECONDS)
        self._silent = CachedAnswer(lambda: _ask_redis(sources.registry.silent), KEPT_SECONDS)

    @asynccontextmanager
    async def limited_read(self) -> AsyncIterator[None]:
        """The block as one of AT_ONCE. Raises Overloaded."""
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await self._reads.acquire()
        except TimeoutError as error:
            raise Overloaded from error
        try:
            yield
        finally:
            self._reads.release()

    async def overview(self, queue: QueueState | None) -> Json:
        """Everything at a glance; `queue` is what the process knows of it, None where it does not."""
        found = await self._overview.get()
        return found if queue is None else {**found, "queue": shapes.jsonable(queue)}

    async def queue(self, queue: QueueState | None) -> Json:
        """The figures, and the callers whose runs they are. Raises QueueUnavailable where they are not known."""
        callers = await self._callers.get()
        if queue is None:
            raise QueueUnavailable
        return shapes.queue(queue, callers)

    async def workers(self) -> Json:
        return {
            "workers": shapes.jsonable(await self._workers.get()),
            "silent_workers": shapes.jsonable(await self._silent.get()),
        }

    async def runs(self, wanted: RunFilter, limit: int) -> Json:
        """Runs, newest first, and where those after them begin. Where Redis is away, without their workers."""
        found = await self.sources.lists.find(wanted, limit + 1)
        runs = found[:limit]
        running = [run.id for run in runs if run.status is Status.RUNNING]
        redis = "ok"
        try:
            holders = await _ask_redis(lambda: self.sources.holders.of(running)) if running else {}
        except QueueUnavailable as error:
            holders, redis = {}, _describe_error(error)
        return {
            "runs": [shapes.listed(run, holders.get(run.id)) for run in runs],
            "next": str(RunPosition.of(runs[-1])) if len(found) > limit else None,
            "redis": redis,
        }

    async def run(self, run_id: str, *, content: bool) -> Json:
        """All of one run. Raises RunNotFound."""
        sources = self.sources
        details = await sources.reader.find(run_id)
        acts = await sources.audit.on(run_id, ACTS_SHOWN)
        job = worker = None
        redis = "ok"
        try:
            job = await _ask_redis(lambda: sources.holders.job(run_id))
            if (holder := job.place) is not None:
                workers = await self._workers.get()
                worker = next((each for each in workers if each.id == holder.worker_id), None)
        except QueueUnavailable as error:
            redis = _describe_error(error)
        attempts, followers = await self._journal(details.run, is_asked=redis == "ok")
        found = {
            **shapes.shown(details, job, worker, acts),
            "attempts": [
                {"attempt": number, "entries": entries} for number, entries in enumerate(attempts, 1)
            ],
            "followers": followers,
            "redis": redis,
        }
        return (
            {**found, "content": shapes.content(await sources.reader.content(run_id))} if content else found
        )

    async def events(self, run_id: str, after: Cursor, limit: int, *, content: bool) -> Json:
        """A page of its journal. Raises RunNotFound, QueueUnavailable, JournalGone for what is no journal."""
        run = (await self.sources.reader.find(run_id)).run
        found: list[ShownEvent] = []
        size, is_last = 0, False
        while not is_last and len(found) < limit and size < MAX_PAGE_BYTES:
            asked = min(limit - len(found), READ_AT_ONCE)
            read = await self._read(run_id, after, asked, content=content)
            is_last = len(read) < asked
            for entry in read:
                found.append(entry)
                size += entry.bytes
                if size >= MAX_PAGE_BYTES:
                    is_last = is_last and entry is read[-1]
                    break
            if found:
                after = Cursor.parse(found[-1].cursor)
        times = await self._times(run_id) if found else EntryTimes(())
        return {
            "events": [shapes.event(entry, _time(entry, run, times), content=content) for entry in found],
            "next": None if is_last or not found else str(after),
        }

    def note_act(self) -> None:
        """Drops the cached answers that the act may have changed; the counts of ends stay."""
        for kept in (self._overview, self._callers, self._workers, self._silent):
            kept.forget()

    async def _times(self, run_id: str) -> EntryTimes:
        """Empty where another program wrote the key."""
        try:
            return await _ask_redis(lambda: self.sources.times.of(run_id))
        except JournalGone:
            return EntryTimes(())

    async def _read(self, run_id: str, after: Cursor, limit: int, *, content: bool) -> Sequence[ShownEvent]:
        return await _ask_redis(lambda: self.sources.reader.events(run_id, after, limit, content=content))

    async def _journal(self, run: ListedRun, *, is_asked: bool) -> tuple[Sequence[int | None], int | None]:
        """What the journal has of each attempt, and by how many processes the run is followed."""
        count = min(run.attempt, MAX_ATTEMPTS_SHOWN)
        attempts: Sequence[int | None] = [None] * count
        followers = None
        if is_asked:
            try:
                if count:
                    attempts = await _ask_redis(lambda: self.sources.holders.attempts(run.id, count))
                async with asyncio.timeout(REDIS_SECONDS):
                    followers = await self.sources.holders.followers(run.id)
            except (QueueUnavailable, JournalGone, TimeoutError):  # no journal of ours, or Redis is away
                pass
        return attempts, followers

    async def _ask_overview(self) -> Json:
        sources = self.sources
        workers = silent = database = ended = acts = None
        postgresql = redis = "ok"
        try:
            workers = await self._workers.get()
            silent = await self._silent.get()
        except QueueUnavailable as error:
            redis = _describe_error(error)
        try:
            database = await sources.database_figures.ask()
            if database.read_only:
                postgresql = shapes.READ_ONLY
            ended = await self._ends.get()
            acts = await sources.audit.newest(shapes.ACTS_AT_A_GLANCE)
        except DatabaseUnavailable as error:
            postgresql = _describe_error(error)
        return shapes.overview(
            postgresql=postgresql,
            redis=redis,
            clock=sources.clocks.offsets,
            database=database,
            workers=workers,
            silent_workers=silent,
            ended=ended,
            acts=acts,
        )


async def _ask_redis(call: Callable[[], Awaitable[T]]) -> T:
    """The answer of Redis, also over a connection that has died since. Raises QueueUnavailable."""
    try:
        async with asyncio.timeout(REDIS_SECONDS):
            return await retry_briefly(call)
    except TimeoutError as error:
        raise QueueUnavailable from error


def _describe_error(error: RelaykitError) -> str:
    """Its code and what that means, without what may name a host."""
    return f"{error.code}: {(type(error).__doc__ or '').strip()}"


def _time(entry: ShownEvent, run: ListedRun, times: EntryTimes) -> datetime | None:
    """The time that the row has of it, else that which was noted, else what the entry itself says."""
    cursor = Cursor.parse(entry.cursor)
    if entry.kind == "end":
        return run.ended_at
    if cursor.attempt == 0:
        return run.accepted_at
    if entry.kind == "attempt" and cursor.attempt == 1:
        return run.started_at
    return times.at(cursor) or entry.at
