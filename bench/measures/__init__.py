"""The measures, one family a file, and what each of these files offers.

    def measure(scale: Scale) -> list[Measure]: ...

It starts what it needs (`bench.systems.stack.stack()`), ends all of it, and returns its lines of the table, each with
the baseline that it measured beside it: ours and the baseline by turns, in rounds of one run. `measure` names begin
with the family: `relay.held_3000_clients`. More
than about 15 s with `scale.quick`, or two minutes without, is too long.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TypeVar

from bench.output.results import Measure

T = TypeVar("T")

Family = Callable[["Scale"], list[Measure]]

FAMILIES = (
    "latency",
    "pickup",
    "fairness",
    "relay",
    "single",
    "publisher",
    "whole_stack",
    "cost",
    "site_app",
    "idle",
    "resume",
    "growth",
    "scale",
    "page",
    "peers",
)
"""In the order in which they run and stand in the table."""

PEERS = "peers"
"""Needs an environment of its own, and so runs only when it is asked for."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured: enough to see that it works, or enough to believe the figures."""

    quick: bool

    def of(self, quick: T, full: T) -> T:
        """The one or the other."""
        return quick if self.quick else full


def present() -> list[str]:
    """The families whose module is there, in order."""
    return [name for name in FAMILIES if find_spec(f"{__name__}.{name}") is not None]


def asked(only: str, *, peers: bool) -> list[str]:
    """The families of `only`, in the order of FAMILIES, and what is none; where it names none, all that are there.

    PEERS is one of all only with `peers`.
    """
    names = [name.strip() for name in only.split(",") if name.strip()]
    if not names:
        return [name for name in present() if peers or name != PEERS]
    unknown = [name for name in names if name not in FAMILIES]
    return [name for name in FAMILIES if name in names] + unknown


def family(name: str) -> Family:
    """The family's function. Raises LookupError for a name that is none, and for a module that is not there."""
    if name not in FAMILIES:
        raise LookupError(f"no measure family {name!r}; there are {', '.join(FAMILIES)}")
    module = f"bench.measures.{name}"
    try:
        found: Family = importlib.import_module(module).measure
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise LookupError(f"{module} is not there") from error
    return found
