"""A load client: a process of its own that opens streams, counts what comes and how late, and says how busy it was.

`python -m bench.load.streams` takes one job as JSON on stdin and answers with JSON on stdout. It uses raw
sockets, because what a stream costs here is then little beside what it costs the server: `cpu_share` shows it.
"""

from __future__ import annotations

import asyncio
import json
import random
import resource
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Any
from urllib.parse import urlsplit

import uvloop

from bench.load.dialects import DIALECTS
from bench.load.jobs import Job, Request, Seen

MARK = b"~"
STAMP_DIGITS = 19


class Stream(asyncio.Protocol):
    """One response: counts, and parses no more than it has to."""

    def __init__(self, request: Request, seen: Seen, job: Job, job_began_at: int) -> None:
        loop = asyncio.get_running_loop()
        self._request = request
        self._job = job
        self._job_began_at = job_began_at
        dialect = DIALECTS[job.dialect]
        self._first_event, self._over = dialect.first_event, dialect.answer_over
        self.seen = seen
        self._sent_at = 0
        self._head = b""
        self._in_body = self._has_delta = self._has_event = self._answer_over = False
        self._transport: Any = None
        self.counting = True
        self.refused = False
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
                self.refused = True
                if self._job.retry_seconds:
                    self.seen.retried += 1
                else:
                    self.seen.failed += 1
                if not self.seen.refusal:
                    self.seen.refusal.append(f"{head.decode(errors='replace').splitlines()[0]} {data!r}")
                self.close()
                return
        if not data:
            return
        if not self.begun.done():
            self.seen.first_byte.append((now - self._sent_at) / 1e6)
            self.begun.set_result(None)
        if self.counting:
            self.seen.reads += 1
            self.seen.bytes += len(data)
            self._count(data, now)
        if data.endswith(b"0\r\n\r\n"):
            self.seen.whole.append((now - self._sent_at) / 1e6)
            self.close()
        elif self._has_delta and self._job.until_first_delta:
            self.close()

    def _count(self, data: bytes, now: int) -> None:
        seen = self.seen
        if not self._has_event and self._first_event in data:
            self._has_event = True
            seen.first_event.append((now - self._sent_at) / 1e6)
        if self._answer_over:
            return
        if self._has_delta and (end := data.find(self._over)) >= 0:
            self._answer_over = True  # the whole text again
            data = data[:end]
        first = data.find(MARK)
        if first < 0:
            return
        if not self._has_delta:
            self._has_delta = True
            seen.first_delta.append((now - self._sent_at) / 1e6)
            seen.back.append((now - self._job_began_at) / 1e6)
            if (end := data.find(self._over, first)) >= 0:
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


class Streams:
    """All streams of a job."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._seen = Seen()
        self._streams: list[Stream] = []
        self._opening = asyncio.Semaphore(min(job.at_once, job.opens_at_once))
        self._places = asyncio.Semaphore(job.at_once)
        self._began_at = time.monotonic_ns()
        self._following = [asyncio.create_task(self._follow(request)) for request in job.requests]

    async def _follow(self, request: Request) -> None:
        async with self._places:
            while (stream := await self._begin(request)).refused and self._job.retry_seconds:
                self._streams.remove(stream)
                await asyncio.sleep(self._job.retry_seconds * (0.5 + random.random()))  # noqa: S311
            await stream.ended

    async def _begin(self, request: Request) -> Stream:
        async with self._opening:
            stream = await self._open(request)
            stream.counting = not (self._job.warm_seconds or self._job.hold)
            self._streams.append(stream)
            await stream.begun
        return stream

    async def _open(self, request: Request) -> Stream:
        parts = urlsplit(request.url)
        _, stream = await asyncio.get_running_loop().create_connection(
            lambda: Stream(request, self._seen, self._job, self._began_at),
            parts.hostname or "",
            parts.port or 80,
        )
        return stream

    async def begun(self) -> None:
        """Returns when all have. Raises OSError where one cannot connect."""
        while sum(stream.begun.done() for stream in self._streams) < len(self._job.requests):
            for task in self._following:
                if task.done():
                    task.result()
            await asyncio.sleep(0.02)
        self._seen.opened_seconds = (time.monotonic_ns() - self._began_at) / 1e9

    async def count(self) -> Seen:
        """What comes from now on, for the job's seconds or to the end of all."""
        seen = self._seen
        for stream in self._streams:
            stream.seen, stream.counting = seen, True
        if self._job.windows:
            print("counting", flush=True)
        started_at, used = time.monotonic(), _cpu_seconds()
        if self._job.seconds:
            await asyncio.sleep(self._job.seconds)
        else:
            await asyncio.gather(*self._following)
        seen.seconds = time.monotonic() - started_at
        seen.cpu_share = (_cpu_seconds() - used) / seen.seconds
        self._seen = Seen()
        for stream in self._streams:
            stream.seen, stream.counting = self._seen, False
        return seen

    async def close(self) -> None:
        """Cuts what is open, and gives up what is not. Raises OSError where one could not connect."""
        for task in self._following:
            task.cancel()
        for outcome in await asyncio.gather(*self._following, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome
        for stream in self._streams:
            stream.close()


async def run(job: Job) -> AsyncIterator[Seen]:
    streams = Streams(job)
    if job.hold:
        await streams.begun()
        print("ready", flush=True)
        if not await _line():  # there is no one to count for
            await streams.close()
            return
    if job.warm_seconds:
        await asyncio.sleep(job.warm_seconds)
    yield await streams.count()
    while job.windows and await _line():
        yield await streams.count()
    await streams.close()


async def _line() -> str:
    return await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def answer(job: Job) -> None:
    async for seen in run(job):
        print(json.dumps(asdict(seen)), flush=True)


def main() -> None:
    given: dict[str, Any] = json.loads(sys.stdin.readline())
    uvloop.run(answer(Job(**{**given, "requests": [Request(**request) for request in given["requests"]]})))


if __name__ == "__main__":
    main()
