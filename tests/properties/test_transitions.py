"""The state machine of a run: the table itself, and the rows of a real database held against it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relaykit.shared.owner import Owner
from relaykit.shared.postgres.database import Database
from relaykit.shared.runs.run import ENDED, TRANSITIONS, Kind, Run, Status, sources
from tests.support.both_sides import WholeRuns
from tests.support.examples import examples

ALICE = Owner(tenant="", user_id="alice")

quick = examples(60)

STATUSES = st.sampled_from(list(Status))


def test_every_status_has_its_row():
    assert set(TRANSITIONS) == set(Status)
    assert all(targets <= set(Status) for targets in TRANSITIONS.values())


def test_exactly_the_three_ends_lead_nowhere():
    assert frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELLED}) == ENDED
    assert all((not TRANSITIONS[status]) == status.ended == (status in ENDED) for status in Status)


@given(STATUSES, STATUSES)
def test_sources_are_the_table_read_backwards(source, target):
    assert (source.value in sources(target)) == (target in TRANSITIONS[source])


def test_every_end_can_be_reached_from_every_state_that_is_not_one():
    for status in set(Status) - ENDED:
        reached = {status}
        while more := {target for source in reached for target in TRANSITIONS[source]} - reached:
            reached |= more
        assert reached >= ENDED


def test_nothing_leads_back_to_waiting():
    assert sources(Status.WAITING) == []


@dataclass
class Real:
    """The rows of a real database and the loop that the pool lives in."""

    runner: asyncio.Runner
    database: Database
    runs: WholeRuns


@pytest.fixture
def real(settings) -> Iterator[Real]:
    one = settings.model_copy(update={"database_pool_min": 1, "database_pool_max": 2})
    with asyncio.Runner() as runner:
        database = Database(one)
        runner.run(database.__aenter__())
        try:
            yield Real(runner, database, WholeRuns(database))
        finally:
            runner.run(database.__aexit__(None, None, None))


def new_run(thread_id: str) -> Run:
    return Run(
        id=f"run_{uuid4().hex}",
        owner=ALICE,
        thread_id=thread_id,
        kind=Kind.MESSAGE,
        status=Status.QUEUED,
        attempt=0,
        handed_back=0,
        anchor_item_id=None,
        input={},
        context={},
        token=None,
        cancel_requested=False,
        error=None,
        request_hash=None,
    )


STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["start", "start", "complete", "fail", "cancelled", "hand back", "stop", "promote", "insert"]
        ),
        st.integers(0, 3),
        st.booleans(),
    ),
    max_size=12,
)


class Rows:
    """One thread's runs, and what may be done to them."""

    def __init__(self, real: Real) -> None:
        self._database, self._runs = real.database, real.runs
        self._thread_id = f"thr_{uuid4().hex}"
        self.ids: list[str] = []

    async def insert(self) -> None:
        run = new_run(self._thread_id)
        async with self._database.transaction():
            await self._runs.admit(run, may_wait=True)
        self.ids.append(run.id)

    async def do(self, action: str, which: int, *, stale: bool) -> None:
        run_id = self.ids[which % len(self.ids)]
        run = await self._runs.get(ALICE, run_id)
        if stale:
            run = Run(**{**_fields(run), "attempt": run.attempt - 1})
        async with self._database.transaction():
            match action:
                case "insert":
                    await self.insert()
                case "start":
                    await self._runs.start(run_id)
                case "complete":
                    await self._runs.finish(run, Status.COMPLETED)
                case "fail":
                    await self._runs.finish(run, Status.FAILED, "internal")
                case "cancelled":
                    await self._runs.finish(run, Status.CANCELLED)
                case "hand back":
                    await self._runs.hand_back(run)
                case "stop":
                    await self._runs.request_cancel(run)
                case "promote" if not await self._has_active():
                    await self._runs.promote_waiting(run)

    async def _has_active(self) -> bool:
        active = await self._runs.active(ALICE, self._thread_id)
        return active is not None and active.status is not Status.WAITING

    async def all(self) -> dict[str, Run]:
        return {run_id: await self._runs.get(ALICE, run_id) for run_id in self.ids}


def _fields(run: Run) -> dict[str, Any]:
    return {name: getattr(run, name) for name in Run.__dataclass_fields__}


@quick
@given(STEPS)
def test_no_call_takes_a_row_along_a_way_that_the_table_does_not_have(real, steps):
    """Whatever is called in whatever order, by the newest attempt or a stale one."""

    async def check() -> None:
        rows = Rows(real)
        await rows.insert()
        before = await rows.all()
        for action, which, stale in steps:
            await rows.do(action, which, stale=stale)
            after = await rows.all()
            for run_id, was in before.items():
                now = after[run_id]
                if now.status is not was.status:
                    assert now.status in TRANSITIONS[was.status], (action, was.status, now.status)
                if was.status.ended:
                    assert now == was
                assert was.attempt <= now.attempt <= was.attempt + 1
                if now.attempt > was.attempt:
                    assert now.status is Status.RUNNING
                elif stale and action in ("complete", "fail", "cancelled", "hand back"):
                    assert now.status is was.status
            active = [run for run in after.values() if run.status in (Status.QUEUED, Status.RUNNING)]
            assert len(active) <= 1
            before = after

    real.runner.run(check())


async def test_the_database_knows_the_same_states(settings):
    async with Database(settings) as database, database.connection() as connection:
        definition = await connection.fetchval(
            "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'runs_status_check'"
        )
    assert all(f"'{status.value}'" in definition for status in Status)
    assert definition.count("::text,") + 1 == len(Status), json.dumps(definition)


async def test_the_items_of_later_runs_are_found_whatever_their_input_holds(settings):
    """U+0000 among it, which PostgreSQL's own JSON operators refuse anywhere in a text."""
    async with Database(settings) as database:
        runs = WholeRuns(database)
        active = new_run("thr_1")
        inputs = [{"item_id": "msg_1", "action": {"payload": "\x00"}}, {"item_id": None}, {}]
        async with database.transaction():
            await runs.admit(active)
            for given_input in inputs:
                waiting = Run(**{**_fields(new_run("thr_1")), "input": given_input})
                assert await runs.admit(waiting, may_wait=True) is Status.WAITING
        stopped = Run(**{**_fields(new_run("thr_1")), "input": {"item_id": "msg_2"}})
        await runs.admit(stopped, may_wait=True)
        await runs.request_cancel(stopped)
        assert await runs.later_items(active) == {"msg_1", "msg_2"}
        assert await runs.later_items(stopped) == set()
