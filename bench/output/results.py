"""What a measure comes to, and whether it meets its goal."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Of(StrEnum):
    """What a goal bounds."""

    VALUE = "value"
    RATIO = "ratio"


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound of a measure's value or of its ratio to the baseline; the goals are those of docs/performance.md."""

    of: Of
    at_most: float = math.inf
    at_least: float = -math.inf

    def __str__(self) -> str:
        unit = "x" if self.of is Of.RATIO else ""
        if self.at_most < math.inf:
            return f"<= {self.at_most:g}{unit}"
        return f">= {self.at_least:g}{unit}"

    def met_by(self, value: float, ratio: float | None) -> bool:
        found = value if self.of is Of.VALUE else ratio
        return found is not None and self.at_least <= found <= self.at_most


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One line of the table. `value` and `baseline` are in `unit`; `ratio` is the one by the other."""

    measure: str
    value: float
    unit: str
    baseline: float | None = None
    against: str = ""
    """What the baseline is."""
    goal: Goal | None = None
    p50: float | None = None
    p99: float | None = None
    spread: float | None = None
    """Half the distance between the quartiles of the repetitions, in `unit`."""
    note: str = ""
    points: Sequence[Mapping[str, float | str]] = ()
    """What a plot draws of it: its curve, point by point."""

    @property
    def ratio(self) -> float | None:
        return self.value / self.baseline if self.baseline else None

    @property
    def met(self) -> bool | None:
        """None where there is no goal."""
        return None if self.goal is None else self.goal.met_by(self.value, self.ratio)

    def as_json(self) -> dict[str, Any]:
        given = {**asdict(self), "goal": str(self.goal) if self.goal else None}
        return {**given, "ratio": self.ratio, "met": self.met}


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest of the values that `share` of them (0 to 1) do not exceed. At least one value."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, math.ceil(share * len(ordered)) - 1))]


def spread(values: Sequence[float]) -> float:
    """Half the distance between the quartiles; 0 of fewer than two values."""
    if len(values) < 2:
        return 0.0
    low, _, high = statistics.quantiles(values, n=4)
    return (high - low) / 2
