"""What a load client is asked for, and what it saw: JSON on its stdin and its stdout."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass
class Request:
    """One stream to open."""

    url: str
    method: str = "GET"
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""

    def encoded(self) -> bytes:
        parts = urlsplit(self.url)
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        content = self.body.encode()
        lines = [f"{self.method} {path} HTTP/1.1", f"Host: {parts.netloc}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        if content:
            lines.append(f"Content-Length: {len(content)}")
        return "\r\n".join([*lines, "", ""]).encode() + content


@dataclass
class Job:
    """Streams to open: one after the other (`at_once` 1), or so many side by side."""

    requests: list[Request]
    at_once: int = 1
    seconds: float = 0
    """Close what is open after so long; 0: each is read to its end."""
    warm_seconds: float = 0
    """What comes in the first seconds is not counted."""
    hold: bool = False
    """Print `ready` when all have begun; the counting starts with the next line on stdin."""
    windows: bool = False
    """After the first answer, count `seconds` anew and answer for each further line on stdin, until that ends. Before
    each answer, print `counting` when that begins."""
    until_first_delta: bool = False
    """Close each stream as soon as it has a delta."""
    retry_seconds: float = 0
    """After about so long a stream that was refused is asked for again; 0: it has failed."""
    opens_at_once: int = 100
    """Streams that have been asked for and have not begun."""
    dialect: str = "chatkit"
    """Of the streams; bench.load.dialects has them."""


@dataclass
class Seen:
    """What came over all streams. Times in ms."""

    first_byte: list[float] = field(default_factory=list)
    """From sending the request to the first byte of the body."""
    first_delta: list[float] = field(default_factory=list)
    """To the first delta."""
    back: list[float] = field(default_factory=list)
    """From the beginning of the job to the first delta."""
    first_event: list[float] = field(default_factory=list)
    """To the first event that respond() made."""
    whole: list[float] = field(default_factory=list)
    """To the end."""
    late: list[float] = field(default_factory=list)
    """Of each read: how old its oldest delta was."""
    deltas: int = 0
    bytes: int = 0
    reads: int = 0
    failed: int = 0
    """Streams that were refused, for good."""
    retried: int = 0
    """Refusals after which the stream was asked for again."""
    refusal: list[str] = field(default_factory=list)
    """The first of them."""
    opened_seconds: float = 0
    """Until all streams had begun; 0 without `hold`."""
    seconds: float = 0
    cpu_share: float = 0
    """Of one core, of this process."""
