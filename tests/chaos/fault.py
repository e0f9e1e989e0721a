"""What a fault is, and in which order they come: a seed gives it. Pure."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from random import Random

from tests.chaos.stage import Stage

Act = Callable[[Stage, Random], Awaitable[None]]


@dataclass(frozen=True)
class Fault:
    """One function that does its harm, and has undone it when it returns."""

    name: str
    act: Act


@dataclass(frozen=True)
class Step:
    """One fault of a plan, `after_seconds` after the one before."""

    number: int
    after_seconds: float
    fault: Fault


def plan(random: Random, faults: tuple[Fault, ...], every_seconds: float, rounds: float) -> Iterator[Step]:
    """So many rounds, each with every fault once in a new order."""
    number = 0
    while number < rounds * len(faults):
        for fault in random.sample(faults, len(faults)):
            yield Step(number, random.uniform(0, 2 * every_seconds), fault)
            number += 1
