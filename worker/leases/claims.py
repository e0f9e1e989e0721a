"""A claim on a run, and what is known of how the run's attempt before it was lost."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntFlag
from typing import NamedTuple, Self

from relaykit.shared.queue.lease_token import process_of


@dataclass(frozen=True, slots=True)
class Loss:
    """How an attempt was lost: it ended without its worker's release. A claim has none where nothing is known."""

    company: int
    """How many runs were lost together, this one among them. 1: the run itself is to blame. 0: another run is."""
    times: int
    """How often the run was lost, this time among them."""
    process: str
    """The process that was lost; empty where it named the run as its own fault before it ended."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """From what `note_loss` of shared/queue/fair.lua writes."""
        company, times, process = text.split(" ", 2)
        return cls(int(company), int(times), process)

    @property
    def is_suspect(self) -> bool:
        """Whether the run may be why its process was lost."""
        return self.company > 0

    @property
    def counts(self) -> bool:
        """Whether the run itself is to blame, so that the attempt counts against it."""
        return self.company == 1


@dataclass(frozen=True, slots=True)
class Claim:
    """A lease on a run: the token proves it."""

    run_id: str
    token: str
    asked_at: float = field(default=0.0, compare=False)
    """When the claim was asked for, by time.monotonic(): the lease is not older."""
    loss: Loss | None = field(default=None, compare=False)
    lapsed_seconds: float = field(default=0.0, compare=False)
    """Where an attempt was lost: for how long its lease had been over when the run was claimed."""

    @property
    def process(self) -> str:
        return process_of(self.token)


class Renewal(IntFlag):
    """What a renewal says of a run."""

    LOST = 0
    """The lease is another's."""
    HELD = 1
    CANCEL = 2
    """The user has stopped the run."""
    FOLLOWED = 4
    """A client follows the run; only told where ABANDON_SECONDS is on."""
    REACQUIRED = 8
    """The lease had lapsed, no other worker had taken it, and it is held again."""


class RunningLimits(NamedTuple):
    """Runs that may be executed at once, times the flow's weight; 0 is no limit."""

    of_tenant: int = 0
    of_caller: int = 0


UNLIMITED = RunningLimits()
