"""What a request costs before it is known to be one: counted, paid for, bounded, and refused before it is read."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from redis.asyncio import Redis

from relaykit.api.limits.caller_limits import SMALL_BODY_BYTES
from relaykit.shared.redis import keys
from relaykit.shared.redis.keys import UNBEGUN_JOURNAL_TTL_SECONDS
from relaykit.shared.settings import Settings
from tests.integration.test_limits import assert_refused, refused, state
from tests.support.servers.relay_servers import Script, ScriptedAnswers
from tests.support.system import WAIT_SECONDS, Caller, System, create, keyed, message, running, wait_until

LIMIT = 4
LIST: dict[str, Any] = {"type": "threads.list", "params": {"limit": 1}}


def with_content(content: list[Any]) -> bytes:
    given = {"content": content, "attachments": [], "inference_options": {}}
    return json.dumps({"type": "threads.create", "params": {"input": given}}).encode()


WRONG: dict[str, tuple[bytes, int]] = {
    "no JSON": (b"{", 400),
    "infinity": (b'{"type": "threads.list", "params": {}, "metadata": {"n": 1e999}}', 400),
    "an unknown type": (b'{"type": "threads.steal", "params": {}}', 400),
    "a wrong field": (b'{"type": "threads.list", "params": {"order": 1}}', 422),
    "an empty message": (with_content([]), 422),
    "too many parts": (with_content([1] * 20_000), 422),
    "an absent thread": (b'{"type": "threads.get_by_id", "params": {"thread_id": "t"}}', 404),
    "too large a body": (b" " * 1_048_577, 413),
}


@pytest.mark.parametrize(("body", "status"), WRONG.values(), ids=WRONG)
async def test_a_refused_request_is_counted(settings: Settings, body: bytes, status: int) -> None:
    """As many as a minute's burst get their own error, the next ones 429, and so does a right request then."""
    limited = settings.model_copy(update={"caller_requests_per_minute": 4 * LIMIT})
    async with running(limited, ScriptedAnswers, workers=0) as system:
        alice = await system.caller()
        for _ in range(LIMIT):
            assert (await alice.post(body)).status_code == status
        for late in (body, LIST):
            assert_refused(await alice.post(late), 429, "rate_limited")
        assert await refused(system, "rate_limited") >= 2
        assert (await (await system.caller("bob")).post(body)).status_code == status


class HalfSent:
    """A POST of which the head and some bytes of the body were sent, over a socket of its own."""

    def __init__(self, system: System, alice: Caller, declared: int, sent: bytes) -> None:
        parts = urlsplit(system.urls[0])
        self.socket = socket.create_connection((parts.hostname, parts.port), timeout=WAIT_SECONDS)
        self.socket.sendall(
            b"POST /chatkit HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %b\r\nContent-Length: %d\r\n\r\n%b"
            % (alice.token.encode(), declared, sent)
        )

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    async def status(self) -> int:
        """The status of the next answer, which is read to its end."""

        def read() -> int:
            response = http.client.HTTPResponse(self.socket, method="POST")
            response.begin()
            response.read()
            return response.status

        return await asyncio.to_thread(read)


@contextmanager
def closed(posts: list[HalfSent]) -> Iterator[list[HalfSent]]:
    try:
        yield posts
    finally:
        for post in posts:
            post.socket.close()


async def test_a_request_beyond_the_rate_is_refused_before_its_body_has_come(settings: Settings) -> None:
    """The client gets the answer though it is still sending; then the connection ends, and nothing else is read."""
    limited = settings.model_copy(update={"caller_requests_per_minute": 4})
    async with running(limited, ScriptedAnswers, workers=0) as system:
        alice = await system.caller()
        assert (await alice.post(LIST)).status_code == 200
        with closed([HalfSent(system, alice, 300_000, b"x" * 1000)]) as [post]:
            assert await post.status() == 429
            post.send(b"x" * 299_000)
            assert await asyncio.to_thread(post.socket.recv, 1) == b""


async def test_bodies_that_a_caller_has_in_flight_are_limited(settings: Settings) -> None:
    """At one API process: the next one is 429 at once, another caller's is read, and one that is whole makes room."""
    limited = settings.model_copy(update={"caller_max_bodies": LIMIT})
    body = json.dumps(LIST).encode()
    async with running(limited, ScriptedAnswers, workers=0) as system:
        alice, same_name = await system.caller(), await system.caller("alice", "acme")
        with closed([HalfSent(system, alice, len(body), body[:5]) for _ in range(LIMIT)]) as posts:

            async def all_are_in_flight() -> bool:
                return (await alice.post(LIST)).status_code == 429

            await wait_until("all bodies are being read", all_are_in_flight)
            before = await state(settings)
            assert_refused(await alice.post(create("hello")), 429, "too_many_bodies")
            assert await state(settings) == before
            assert await refused(system, "too_many_bodies") >= 2
            assert (await same_name.post(LIST)).status_code == 200
            posts[0].send(body[5:])
            assert await posts[0].status() == 200
            assert (await alice.post(LIST)).status_code == 200
            posts[1].socket.close()
            posts[2].send(body[5:])
            assert await posts[2].status() == 200

            async def two_are_free() -> bool:
                pair = [HalfSent(system, alice, len(body), body[:5]) for _ in range(2)]
                with closed(pair):
                    return (await alice.post(LIST)).status_code == 200

            await wait_until("a body that is broken off makes room", two_are_free)


def padded(size: int) -> bytes:
    return json.dumps(LIST).encode().ljust(size)


async def chunks(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), 16_384):
        yield body[start : start + 16_384]


@pytest.mark.parametrize("is_declared", [True, False], ids=["declared", "chunked"])
async def test_the_bytes_of_a_caller_are_limited(settings: Settings, is_declared: bool) -> None:
    """A quarter of a minute's may come at once, at two APIs together; small bodies and other callers go on."""
    size = 50_000
    limited = settings.model_copy(update={"caller_bytes_per_minute": 4 * LIMIT * size})
    async with running(limited, ScriptedAnswers, apis=2, workers=0) as system:
        callers = [await system.caller(), await system.caller(api=1)]

        async def post(number: int) -> httpx2.Response:
            caller = callers[number % 2]
            content = padded(size) if is_declared else chunks(padded(size))
            headers = {"Authorization": f"Bearer {caller.token}"}
            return await caller.client.post("/chatkit", content=content, headers=headers)

        for number in range(LIMIT):
            assert (await post(number)).status_code == 200
        before = await state(settings)
        for number in range(2):
            assert_refused(await post(number), 429, "rate_limited")
        assert await state(settings) == before
        assert (await callers[0].post(padded(SMALL_BODY_BYTES))).status_code == 200
        assert (await (await system.caller("bob")).post(padded(size))).status_code == 200
        async with Redis.from_url(settings.redis_url) as redis:
            assert all(b"alice" not in key for key in await redis.keys("*"))


async def test_bytes_beyond_the_caller_s_are_refused_before_they_have_come(settings: Settings) -> None:
    limited = settings.model_copy(update={"caller_bytes_per_minute": 4 * 50_000})
    async with running(limited, ScriptedAnswers, workers=0) as system:
        alice = await system.caller()
        assert (await alice.post(padded(50_000))).status_code == 200
        with closed([HalfSent(system, alice, 50_000, b"")]) as [post]:
            assert await post.status() == 429


async def test_a_body_larger_than_a_burst_passes_where_none_came_before(settings: Settings) -> None:
    """It could never pass otherwise; the next one waits until it is paid for."""
    limited = settings.model_copy(update={"caller_bytes_per_minute": 4 * 50_000})
    async with running(limited, ScriptedAnswers, workers=0) as system:
        alice = await system.caller()
        assert (await alice.post(padded(150_000))).status_code == 200
        response = await alice.post(padded(5000))
        assert_refused(response, 429, "rate_limited")
        assert int(response.headers["retry-after"]) > 20


async def test_messages_that_are_cancelled_at_once_leave_redis_within_a_minute(settings: Settings) -> None:
    """The journal of a run that never began, queued or waiting, holds the message only as long as it says something."""
    async with (
        running(settings, ScriptedAnswers, workers=0) as system,
        Redis.from_url(settings.redis_url) as redis,
    ):
        alice = await system.caller()
        async with alice.open_stream(create("x" * 50_000)) as response:
            queued = response.headers["x-run-id"]
            lines = response.aiter_lines()
            while not (line := await anext(lines)).startswith("data: "):
                pass
            thread_id = json.loads(line.removeprefix("data: "))["thread"]["id"]
        async with alice.open_stream(message(thread_id, "y" * 50_000), keyed("second")) as response:
            waiting = response.headers["x-run-id"]
        for run_id in (waiting, queued):
            assert await redis.ttl(keys.journal(run_id)) > UNBEGUN_JOURNAL_TTL_SECONDS
            assert (await alice.cancel(run_id)).json()["status"] == "cancelled"
            assert 0 < await redis.ttl(keys.journal(run_id)) <= UNBEGUN_JOURNAL_TTL_SECONDS
            assert (await alice.resume(run_id, None)).end == "cancelled"


async def test_the_journal_of_a_run_that_began_stays(settings: Settings) -> None:
    async with running(settings, ScriptedAnswers) as system, Redis.from_url(settings.redis_url) as redis:
        answer = await (await system.caller()).stream(create(str(Script(deltas=1))))
        assert answer.end == "completed"
        assert await redis.ttl(keys.journal(answer.run_id)) > UNBEGUN_JOURNAL_TTL_SECONDS
