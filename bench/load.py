"""A load client: a process of its own that opens streams, counts what comes and how late, and says how busy it was.

`python -m bench.load` takes one job as JSON on stdin and answers with JSON on stdout. Raw sockets: what a stream costs
here is little beside what it costs the server, and `cpu_share` of the answer shows it.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import urlsplit

import uvloop

CONNECTS_AT_ONCE = 100
MARK = b"~"
STAMP_DIGITS = 19


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
    """Print `ready` when all have begun, before the counting starts."""


@dataclass
class Seen:
    """What came over all streams. Times in ms."""

    first_byte: list[float] = field(default_factory=list)
    """From sending the request to the first byte of the body."""
    first_delta: list[float] = field(default_factory=list)
    """To the first delta."""
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
    seconds: float = 0
    cpu_share: float = 0
    """Of one core, of this process."""


class Stream(asyncio.Protocol):
    """One response: counts, and parses no more than it has to."""

    def __init__(self, request: Request, seen: Seen) -> None:
        loop = asyncio.get_running_loop()
        self._request = request
        self._seen = seen
        self._sent_at = 0
        self._head = b""
        self._in_body = self._has_delta = self._has_event = self._answer_over = False
        self._transport: Any = None
        self.counting = True
        self.begun: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[None] = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._sent_at = time.monotonic_ns()
        self._transport.write(self._request.encoded())

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        if not self._in_body:
            self._head += data
            head, separator, data = self._head.partition(b"\r\n\r\n")
            if not separator:
                return
            self._in_body = True
            if not head.startswith(b"HTTP/1.1 200"):
                self._seen.failed += 1
                self.close()
                return
        if not data:
            return
        if not self.begun.done():
            self._seen.first_byte.append((now - self._sent_at) / 1e6)
            self.begun.set_result(None)
        if self.counting:
            self._seen.reads += 1
            self._seen.bytes += len(data)
            self._count(data, now)
        if data.endswith(b"0\r\n\r\n"):
            self._seen.whole.append((now - self._sent_at) / 1e6)
            self.close()

    def _count(self, data: bytes, now: int) -> None:
        seen = self._seen
        if not self._has_event and b'"thread.item.added"' in data:
            self._has_event = True
            seen.first_event.append((now - self._sent_at) / 1e6)
        if self._answer_over:
            return
        if self._has_delta and (end := data.find(b'"type":"thread.item.done"')) >= 0:
            self._answer_over = True  # the whole text again
            data = data[:end]
        first = data.find(MARK)
        if first < 0:
            return
        if not self._has_delta:
            self._has_delta = True
            seen.first_delta.append((now - self._sent_at) / 1e6)
            if (end := data.find(b'"type":"thread.item.done"', first)) >= 0:
                self._answer_over = True
                data = data[:end]
        seen.deltas += data.count(MARK)
        made = data[first + 1 : first + 1 + STAMP_DIGITS]
        if len(made) == STAMP_DIGITS and made.isdigit():
            seen.late.append((now - int(made)) / 1e6)

    def connection_lost(self, error: Exception | None) -> None:
        self._finish()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()
        self._finish()

    def _finish(self) -> None:
        for future in (self.begun, self.ended):
            if not future.done():
                future.set_result(None)


async def run(job: Job) -> Seen:
    seen = Seen()
    streams: list[Stream] = []
    opening = asyncio.Semaphore(min(job.at_once, CONNECTS_AT_ONCE))
    places = asyncio.Semaphore(job.at_once)

    async def one(request: Request) -> None:
        async with places:
            async with opening:
                stream = await _open(request, seen)
                stream.counting = not (job.warm_seconds or job.hold)
                streams.append(stream)
                await stream.begun
            await stream.ended

    following = [asyncio.create_task(one(request)) for request in job.requests]
    if job.hold:
        while sum(stream.begun.done() for stream in streams) < len(job.requests):
            await asyncio.sleep(0.02)
        print("ready", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    if job.warm_seconds:
        await asyncio.sleep(job.warm_seconds)
    for stream in streams:
        stream.counting = True
    started_at, used = time.monotonic(), _cpu_seconds()
    if job.seconds:
        await asyncio.sleep(job.seconds)
    else:
        await asyncio.gather(*following)
    seen.seconds = time.monotonic() - started_at
    seen.cpu_share = (_cpu_seconds() - used) / seen.seconds
    for stream in streams:
        stream.counting = False
        stream.close()
    await asyncio.gather(*following)
    return seen


async def _open(request: Request, seen: Seen) -> Stream:
    parts = urlsplit(request.url)
    _, stream = await asyncio.get_running_loop().create_connection(
        lambda: Stream(request, seen), parts.hostname, parts.port
    )
    return stream


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    given: dict[str, Any] = json.loads(sys.stdin.readline())
    job = Job(**{**given, "requests": [Request(**request) for request in given["requests"]]})
    print(json.dumps(asdict(uvloop.run(run(job)))), flush=True)


if __name__ == "__main__":
    main()
