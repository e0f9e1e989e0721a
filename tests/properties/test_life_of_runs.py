"""The life of runs as a state machine: clients, API processes, workers and reapers, one step of one of them at a time.

Rows and Redis are real. Whoever acts may die at any of his steps, or sleep there and go on when everybody has
forgotten him. Whatever the order, what tests/properties/life_record.py says holds after each step; and once it is calm,
every run that was accepted comes to its end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from relaykit.shared.settings import Settings
from tests.properties.life import HOSTS, LEASE_SECONDS, World, open_world
from tests.properties.life_acts import Life, one_of
from tests.properties.life_calm import to_the_end
from tests.properties.life_job import ACTIONS, OFTEN
from tests.support.examples import examples

STEPS = 50
WORKERS = 3
EXECUTES_AFTER = 3
"""Steps from a first claim until the server is called."""
STEPS_WITH_REDIS = 12
"""At least so many before it is emptied again: a world that always loses everything is soon explored."""
HOUR_SECONDS = 3600.0

OWNERS = st.sampled_from(["alice", "bob"])
SLOTS = st.integers(0, 1)
"""A caller's threads."""
ANY = st.integers(0, 30)
"""Which one of those that there are."""


@dataclass
class Real:
    """A world on clean services, and the loop that it lives in."""

    runner: asyncio.Runner
    world: World


@pytest.fixture
def real(settings: Settings) -> Iterator[Real]:
    with asyncio.Runner() as runner:
        opened = open_world(settings)
        world = runner.run(opened.__aenter__())
        try:
            yield Real(runner, world)
        finally:
            runner.run(opened.__aexit__(None, None, None))


class LifeOfRuns(RuleBasedStateMachine):
    """Each rule is a step of somebody's; what is out of place is nobody's, and does nothing."""

    def __init__(self, real: Real) -> None:
        super().__init__()
        self._runner, self._failed = real.runner, False
        self.life = Life(real.world, WORKERS)
        self._runner.run(real.world.clear())

    def _do(self, step: Coroutine[Any, Any, Any]) -> None:
        self._failed = True
        self._runner.run(self.life.step(step))
        self._failed = False

    @initialize(
        runs=st.integers(1, 3),
        steps=st.sampled_from([*[EXECUTES_AFTER] * 4, *range(EXECUTES_AFTER)]),
        actions=st.lists(st.sampled_from(OFTEN), min_size=5, max_size=10),
        is_taken_over=st.sampled_from([True, True, False]),
    )
    def begin(self, runs, steps, actions, is_taken_over):
        """Some messages of a thread were posted, and the first of them is on its way, perhaps at another worker's."""
        for number in range(runs):
            self._do(self.life.post("alice", 0, "queue", None, f"{number}", once=False, steps=3))
        self._do(self.life.workers[0].claim(1))
        for action in [""] * steps + actions:
            self._do(self.life.jobs[0].go_on(action))
        if is_taken_over:
            self._do(self.life.worker(0, "taken over"))

    @rule(
        owner=OWNERS,
        slot=SLOTS,
        policy=st.sampled_from(["queue", "queue", "reject", "interrupt"]),
        key=st.sampled_from([None, None, None, "k1", "k2"]),
        text=st.sampled_from(["a", "b", "retry"]),
        once=st.sampled_from([False, False, True]),
        steps=st.sampled_from([3, 3, 2, 1, 0]),
    )
    def post(self, owner, slot, policy, key, text, once, steps):
        """With three steps it is answered, unless it interrupts somebody."""
        self._do(self.life.post(owner, slot, policy, key, text, once=once, steps=steps))

    @precondition(lambda self: self.life.processes)
    @rule(which=ANY, dies=st.booleans())
    def process(self, which, dies):
        """An API process or a reaper that stands between two of its steps goes on, or never will."""
        self._do(self.life.die(which) if dies else self.life.go_on(which))

    @precondition(lambda self: self.life.record.due)
    @rule(worker=st.integers(0, WORKERS - 1), free=st.integers(1, 3))
    def claim(self, worker, free):
        self._do(self.life.workers[worker].claim(free))

    @precondition(lambda self: self.life.jobs)
    @rule(which=ANY, actions=st.lists(st.sampled_from(ACTIONS), min_size=2, max_size=8))
    def work(self, which, actions):
        """The job goes on by so many steps; once it executes, they are what its server does."""
        job = one_of(self.life.jobs, which)
        for action in actions:
            if not job.process.done:
                self._do(job.go_on(action))

    @precondition(lambda self: self.life.jobs)
    @rule(
        which=ANY,
        what=st.sampled_from(
            [
                *["taken over"] * 4,
                "publishes",
                "lease ends",
                "heartbeat",
                "dies",
                "drains",
                "time is over",
                "nobody follows",
            ]
        ),
    )
    def worker(self, which, what):
        """A lease ends where its worker is too slow for it, and alive."""
        self._do(self.life.worker(which, what))

    @precondition(lambda self: self.life.stale)
    @rule(which=ANY)
    def a_stale_attempt_tries_everything(self, which):
        self._do(self.life.try_everything(which))

    @precondition(lambda self: self.life.record.rows)
    @rule(which=ANY, steps=st.integers(0, 5))
    def cancel(self, which, steps):
        self._do(self.life.cancel(which, steps))

    @precondition(lambda self: self.life.record.rows)
    @rule(owner=OWNERS, slot=SLOTS, steps=st.integers(0, 9))
    def delete_thread(self, owner, slot, steps):
        self._do(self.life.delete_thread(owner, slot, steps))

    @precondition(lambda self: self.life.record.rows)
    @rule(steps=st.integers(0, 4))
    def reap(self, steps):
        self._do(self.life.reap(steps))

    @precondition(lambda self: self.life.record.rows)
    @rule(seconds=st.sampled_from([LEASE_SECONDS / 3, *[LEASE_SECONDS] * 4, HOUR_SECONDS]))
    def time_passes(self, seconds):
        self._do(self.life.time_passes(seconds))

    @precondition(lambda self: self.life.calm_steps > STEPS_WITH_REDIS)
    @rule()
    def redis_is_emptied(self):
        self._do(self.life.empty_redis())

    @precondition(lambda self: self.life.record.rows)
    @rule(which=ANY, host=st.integers(0, HOSTS - 1))
    def follow(self, which, host):
        self._do(self.life.follow(which, host))

    @precondition(lambda self: self.life.clients)
    @rule(which=ANY, host=st.integers(0, HOSTS - 1), kept=st.none() | ANY)
    def reconnect(self, which, host, kept):
        """Or another client comes with a cursor that this one had."""
        self._do(self.life.reconnect(which, host) if kept is None else self.life.share(which, host, kept))

    @precondition(lambda self: self.life.clients)
    @rule(which=ANY, hears=st.booleans())
    def read(self, which, hears):
        self._do(self.life.read(which, hears=hears))

    @precondition(lambda self: self.life.clients)
    @rule(host=st.integers(0, HOSTS - 1), steps=st.integers(0, 3))
    def tick(self, host, steps):
        self._do(self.life.tick(host, steps))

    @precondition(lambda self: self.life.clients)
    @rule(host=st.integers(0, HOSTS - 1))
    def notices_are_lost(self, host):
        self.life.world.hubs[host].notices.clear()

    def teardown(self) -> None:
        try:
            if not self._failed:
                self._runner.run(to_the_end(self.life))
        finally:
            self._runner.run(self.life.close())


def test_whatever_happens_in_whatever_order(real: Real) -> None:
    run_state_machine_as_test(
        lambda: LifeOfRuns(real), settings=hypothesis_settings(examples(40), stateful_step_count=STEPS)
    )
