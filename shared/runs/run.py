"""A run's life: its states, the one transition table, and what a run is. Its rows are in rows.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from uuid import uuid4

from relaykit.shared.owner import Owner


class Status(StrEnum):
    """Where a run is in its life."""

    WAITING = "waiting"
    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        return not TRANSITIONS[self]


TRANSITIONS: Mapping[Status, frozenset[Status]] = {
    Status.WAITING: frozenset({Status.QUEUED, Status.CANCELLED, Status.FAILED}),
    Status.QUEUED: frozenset({Status.RUNNING, Status.CANCELLED, Status.FAILED}),
    # running -> running is the next attempt; running -> queued a run handed back by a drain
    Status.RUNNING: frozenset(
        {Status.RUNNING, Status.QUEUED, Status.COMPLETED, Status.FAILED, Status.CANCELLED}
    ),
    Status.COMPLETED: frozenset(),
    Status.FAILED: frozenset(),
    Status.CANCELLED: frozenset(),
}
"""Where a run may go from each state. A statement that ends or starts a run is given its `sources`; those that name
states themselves are compared with this table by tests/integration/test_run_state_statements.py."""

ENDED = frozenset(status for status in Status if status.ended)


def sources(target: Status) -> list[str]:
    """The states from which `target` can be reached."""
    return [status.value for status, targets in TRANSITIONS.items() if target in targets]


class Kind(StrEnum):
    """What a run executes: one for each streaming request type of the ChatKit protocol."""

    CREATE = "threads.create"
    MESSAGE = "threads.add_user_message"
    CLIENT_TOOL_OUTPUT = "threads.add_client_tool_output"
    STRUCTURED_INPUT = "threads.add_structured_input"
    RETRY = "threads.retry_after_item"
    ACTION = "threads.custom_action"


@dataclass(frozen=True, slots=True)
class AwaitedCall:
    """The client tool call with which a run has ended, and whose output a browser owes."""

    item_id: str
    seconds_left: float
    """Time until the call is given up."""


@dataclass(frozen=True, slots=True)
class Beginning:
    """How an attempt of the run has begun."""

    cause: str
    """`first`; `handed_back` by the worker that had the run; `lost`, that worker is gone."""
    due_seconds: float | None
    """For how long the run had been due; None after a loss, where it is not known."""
    age_seconds: float
    """For how long it had been accepted."""
    started_seconds: float = 0.0
    """How long ago its first attempt had begun."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run's row."""

    id: str
    owner: Owner
    thread_id: str
    kind: Kind
    status: Status
    attempt: int
    handed_back: int
    """Attempts that do not count: handed back by a worker, or lost by the fault of another run."""
    anchor_item_id: str | None
    input: Mapping[str, Any]
    context: Mapping[str, Any]
    token: bytes | None
    cancel_requested: bool
    error: str | None
    request_hash: bytes | None
    idempotency_key: str | None = None
    max_attempts: int | None = None
    """The run's own limit of attempts; None: the setting's."""
    thread: str | None = field(default=None, repr=False)
    """Its thread as our store had it when the attempt began, JSON; None where it did not have it."""
    anchor: str | None = field(default=None, repr=False)
    """Its anchor item, likewise."""
    began: Beginning | None = field(default=None, repr=False)
    """How its attempt began; only set by `start`."""
    awaited: AwaitedCall | None = None
    """What the thread awaits, where its active run has ended and the run's turn has not; only set by `active`."""

    @property
    def given_up_call(self) -> str | None:
        """The client tool call that was given up before this run, which waited behind it, could begin."""
        return self.input.get(GIVEN_UP)


MAX_UNCOUNTED_ATTEMPTS = 20
"""A run's attempts that are lost beyond this many count, whichever run caused the loss, so that no run goes round for
ever."""

GIVEN_UP = "given_up_call"
"""A key of a run's input: the call that was given up for it. Absent where there is none."""


def new_run_id() -> str:
    return f"run_{uuid4().hex}"
