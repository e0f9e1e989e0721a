"""The verdict of a siege: silent about an attack that cost nothing, and loud about each thing that is wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from tests.chaos.record import Loss
from tests.siege.attack import ATTACKS, Attack, together
from tests.siege.attacker import ACTS
from tests.siege.order import Order, Tally
from tests.siege.phase import Bounds, Memory, Phase, Waits, failures

ATTACK = Attack(name="heads", expects=("431 head_too_large|431 other",), forbids=("200",))
LIMITED = Attack(name="descriptors", descriptors=100)


def phase(name: str = "heads") -> Phase:
    """An attack that cost what it may."""
    return Phase(
        name,
        tallies={"heads": Tally(10, 1, 1, Counter({"431 head_too_large": 1}))},
        health=Waits([4.0, 5.0, 6.0]),
        health_answers=Counter({"200": 3}),
        delta=Waits([0.0, 1.0, 2.0]),
        first=Waits([40.0, 50.0, 60.0]),
        memory={"api": Memory(100, 149), "worker-1": Memory(100, 100), "redis": Memory(2, 10)},
    )


def test_an_attack_that_costs_what_it_may_passes() -> None:
    assert failures(phase(), phase("none"), ATTACK, Bounds()) == []


HARM: dict[str, Callable[[Phase], object]] = {
    "/healthz +251 ms": lambda it: it.health.ms.append(256.0),
    "a delta +300 ms": lambda it: it.delta.ms.append(301.0),
    "the first word +260 ms": lambda it: it.first.ms.append(310.0),
    "api 100 to 151 MB (1.5 times)": lambda it: it.memory.update(api=Memory(100, 151)),
    "worker-1 100 to 200 MB (2.0 times)": lambda it: it.memory.update({"worker-1": Memory(100, 200)}),
    "redis +58 MB": lambda it: it.memory.update(redis=Memory(2, 60)),
    "heads: never answered 431 head_too_large|431 other": lambda it: it.tallies["heads"].answers.clear(),
    "heads: 200 x2": lambda it: it.tallies["heads"].answers.update({"200": 2}),
    "heads: 503 database_unavailable x1": lambda it: it.tallies["heads"].answers.update(
        ["503 database_unavailable"]
    ),
    "/healthz: ConnectionResetError x1": lambda it: it.health_answers.update(["ConnectionResetError"]),
    "lost: a check: run_1: is queued": lambda it: it.losses.append(Loss("a check", "run_1", "is queued")),
    "left open: 3 connections": lambda it: it.left_open.append("3 connections"),
    "left queued: 2 (run_1)": lambda it: it.left_queued.extend(["run_1", "run_2"]),
}


@pytest.mark.parametrize("why", HARM)
def test_each_thing_that_an_attack_must_not_cost_fails_it(why: str) -> None:
    harmed = phase()
    HARM[why](harmed)
    assert failures(harmed, phase("none"), ATTACK, Bounds()) == [why]


def test_an_api_with_few_descriptors_may_refuse_new_connections() -> None:
    """New connections may be answered 503 there, and the clients behind them come again."""
    limited = phase()
    limited.health_answers["503"] = 5
    limited.first.ms.append(5000.0)
    assert failures(limited, phase("none"), LIMITED, Bounds()) == []
    assert len(failures(limited, phase("none"), ATTACK, Bounds())) == 2


def test_the_flood_may_keep_the_first_word_for_the_length_of_one_of_its_runs() -> None:
    flood = next(attack for attack in ATTACKS if attack.name == "flood")
    waiting = phase()
    waiting.tallies["flood"] = Tally(answers=Counter({"200": 40}))
    waiting.first.ms.append(2200.0)
    assert failures(waiting, phase("none"), flood, Bounds()) == []
    waiting.first.ms.append(2400.0)
    assert failures(waiting, phase("none"), flood, Bounds()) == ["the first word +2350 ms"]
    assert together(ATTACKS, expecting=False).first_ms == flood.first_ms


def test_a_wait_is_counted_without_the_pace_and_without_what_held_the_driver_up() -> None:
    watched = Phase("heads", ticks=[(1.0, 1.0), (2.0, 2.5), (3.0, 3.25), (9.0, 10.0)])
    watched.note(watched.first, 0.5, 3.125, 25.0)
    assert watched.first.ms == [pytest.approx(2625 - 500 - 125 - 25)]
    watched.note(watched.delta, 2.25, 2.5)
    assert watched.delta.ms == [0.0]
    assert watched.driver.longest == 1000


def test_at_once_each_attack_is_judged_by_its_own_answers() -> None:
    other = Attack(name="other", expects=("200",))
    both = phase()
    both.tallies["other"] = Tally(answers=Counter({"431 head_too_large": 1}))
    assert failures(both, phase("none"), together((ATTACK, other), expecting=True), Bounds()) == [
        "other: never answered 200"
    ]
    assert failures(both, phase("none"), together((ATTACK, other), expecting=False), Bounds()) == []


def test_every_attack_has_its_act() -> None:
    assert {attack.name for attack in ATTACKS} == set(ACTS)


def test_orders_and_tallies_come_through_a_pipe_as_they_are() -> None:
    order = Order(name="heads", port=1, token="t", seconds=1.5, seed=7)
    tally = Tally(1, 2, 3, Counter({"200": 1}))
    assert Order.parse(str(order)) == order
    assert Tally.parse(str(tally)) == tally
    assert tally + tally == Tally(2, 4, 6, Counter({"200": 2}))
