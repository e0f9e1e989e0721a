"""What the clients noted, and what Redis and PostgreSQL hold in the end: the evidence that is checked."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from relaykit.shared.journal import Cursor, Entry
from tests.chaos.fold import Item
from tests.chaos.frames import Frame
from tests.chaos.script import Script


@dataclass
class Turn:
    """One message of one client, and all that the client saw of it."""

    script: Script
    key: str
    """The Idempotency-Key of every POST of it."""
    thread_id: str | None = None
    run_id: str | None = None
    frames: list[Frame] = field(default_factory=list)
    """Of all connections, in the order in which they came."""
    end: str | None = None
    """As the end comment said, or as the status where nothing was left to send."""
    told_at: datetime | None = None
    """When the client was told by 410 that the journal is lost; it then loads the thread."""
    loaded: list[Item] | None = None
    """The thread's items, as they were loaded after that."""
    stop_after: int | None = None
    """Events after which the user presses Stop."""
    stop_asked: bool = False
    call_id: str | None = None
    """The client tool call whose output this is, in place of a message."""
    title: str | None = None
    """What the user calls the thread."""
    title_after: int | None = None
    """Events after which the user does so."""
    titled_at: float | None = None
    """When the API had taken the title, by the monotonic clock."""
    title_unanswered: list[str] = field(default_factory=list)
    """Tries to give it without an answer. An API that was frozen does what it was asked when it wakes, however late."""
    complaint: str | None = None
    """What no client should see: a refusal, a stream that breaks the protocol."""
    posts: int = 0
    resumes: int = 0
    history: list[str] = field(default_factory=list)
    """What became of each request, for the report."""

    def take(self, frame: Frame) -> None:
        """Notes an event; the first one of a new thread names it."""
        self.frames.append(frame)
        if self.thread_id is None:
            event = json.loads(frame.data)
            if event["type"] == "thread.created":
                self.thread_id = event["thread"]["id"]

    @property
    def cursor(self) -> Cursor | None:
        return self.frames[-1].cursor if self.frames else None


@dataclass(frozen=True, kw_only=True)
class RunRow:
    """A run as PostgreSQL has it."""

    id: str
    key: str | None
    thread_id: str
    status: str
    attempt: int
    handed_back: int
    error: str | None
    queued_at: datetime
    started_at: datetime | None
    ended_at: datetime | None


@dataclass(frozen=True)
class Outage:
    """A time in which Redis lost what it held."""

    began_at: datetime
    ended_at: datetime

    def within(self, began_at: datetime, ended_at: datetime) -> bool:
        """Whether it was between these two moments, if only in part."""
        return self.began_at <= ended_at and self.ended_at >= began_at


@dataclass(frozen=True)
class Journal:
    """A run's journal as it was read when its client had come to the end, before Redis may lose it."""

    entries: list[Entry]
    read_at: datetime


@dataclass
class Evidence:
    """All that is left when everything is over."""

    rows: list[RunRow]
    """In the order in which they were accepted."""
    items: dict[str, list[Item]]
    """Of each thread, in its order, without what is hidden."""
    journals: dict[str, Journal]
    """By run id."""
    data_losses: list[Outage]
    turns: list[Turn]
    threads: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Each thread as it is stored, by id."""


@dataclass(frozen=True)
class Loss:
    """One thing that must not be."""

    check: str
    where: str
    why: str
