"""The faults of the network: one for each thing that can happen to a link, on each route, to any one link of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from random import Random

from tests.chaos.fault import Fault
from tests.chaos.routes import Route
from tests.chaos.stage import Stage
from tests.support.network.link_connection import Direction
from tests.support.network.links import Link

DELAY_SECONDS = (0.05, 0.3)
SLOW_SECONDS = (1.0, 4.0)
REFUSED_SECONDS = (0.5, 3.0)
HELD_LEASES = (0.3, 3.0)
"""How long nothing passes, in leases: for some a whole one ends in the meantime, and the patience of clients too."""

Harm = Callable[[Link, Random, float], Awaitable[None]]
"""To a link, with the length of a lease in seconds."""


async def slow(link: Link, random: Random, _: float) -> None:
    with link.delaying(lambda: random.uniform(*DELAY_SECONDS)):
        await asyncio.sleep(random.uniform(*SLOW_SECONDS))


async def cut(link: Link, _: Random, __: float) -> None:
    link.cut()


async def refuse(link: Link, random: Random, _: float) -> None:
    async with link.refusing():
        await asyncio.sleep(random.uniform(*REFUSED_SECONDS))


async def black_hole(link: Link, random: Random, lease_seconds: float) -> None:
    """Afterwards what was sent comes late, or the connections are reset."""
    with link.holding():
        await asyncio.sleep(random.uniform(*HELD_LEASES) * lease_seconds)
        if random.random() < 0.5:
            link.cut()


async def half_open(link: Link, random: Random, lease_seconds: float) -> None:
    with link.holding(random.choice(list(Direction))):
        await asyncio.sleep(random.uniform(*HELD_LEASES) * lease_seconds)
        link.cut()


HARMS: dict[str, Harm] = {
    "slow": slow,
    "cut": cut,
    "refused": refuse,
    "black hole": black_hole,
    "half-open": half_open,
}


async def _act(route: Route, harm: Harm, stage: Stage, random: Random) -> None:
    async with stage.routes.one(route, random) as link:
        await harm(link, random, stage.lease_seconds)


LINK_FAULTS = tuple(
    Fault(f"link {route}: {name}", partial(_act, route, harm))
    for route in Route
    for name, harm in HARMS.items()
)
