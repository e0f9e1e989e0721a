"""What an attempt has come to: one decision, made from the result of its steps and what has stopped it. Pure."""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple, assert_never

from relaykit.shared.runs.run import Status
from relaykit.worker.execution.stop import Stop

EXHAUSTED: Final = "attempts_exhausted"
"""The error of a run whose workers were lost too often."""


class Exit(Enum):
    """Where an attempt left the steps before `settle`."""

    SERVED = "served"
    """The server's events have ended, or a stop has ended them. The error is that of their last event, if it is one."""
    FAILED = "failed"
    """A step has raised an exception."""
    REFUSED = "refused"
    """The site's context refuses the caller."""
    EXHAUSTED = "exhausted"
    """The run has no attempt left, and this one has not called the server."""
    FENCED = "fenced"
    """A newer attempt has begun, or the lease is another worker's."""


class Result(NamedTuple):
    """What the steps before `settle` came to, with the error's code if there is one."""

    exit: Exit
    error: str | None = None


class Verdict(NamedTuple):
    """What `settle` makes of the run: its status after the attempt, and its error's code."""

    status: Status
    error: str | None = None
    shows_error: bool = False
    """Whether the run's clients have yet to be shown that it failed."""


class Outcome(Enum):
    """What is to become of the job."""

    DONE = "done"
    AGAIN = "again"
    FOREIGN = "foreign"  # no run has the job's id


HANDED_BACK: Final = Verdict(Status.QUEUED)
"""The run's next attempt begins anew; this one does not count."""
LOST: Final = Verdict(Status.RUNNING)
"""The run is another attempt's: this one writes nothing more."""


def decide(result: Result, stopped: Stop | None, *, allows_another: bool) -> Verdict:
    """The verdict. `allows_another`: the run may be executed again, should this attempt not end it.

    A lost lease overrides everything. A drain comes next: it ends no run that may be executed again. The other stops
    override what the server has made of them, but neither the refusal nor the exhaustion of the run.
    """
    if result.exit is Exit.FENCED or stopped is Stop.LOST:
        return LOST
    if stopped is Stop.DRAIN:
        return HANDED_BACK if allows_another else Verdict(Status.FAILED, "interrupted", shows_error=True)
    if result.exit is Exit.REFUSED or result.exit is Exit.EXHAUSTED:
        return Verdict(Status.FAILED, result.error)
    match stopped:
        case Stop.USER:
            return Verdict(Status.CANCELLED)
        case Stop.ABANDONED:
            return Verdict(Status.CANCELLED, "abandoned")
        case Stop.TIMEOUT:
            return Verdict(Status.FAILED, "timeout", shows_error=True)
        case None if result.error is None:
            return Verdict(Status.COMPLETED)
        case None:
            return Verdict(Status.FAILED, result.error, shows_error=result.exit is Exit.FAILED)
        case _:
            assert_never(stopped)
