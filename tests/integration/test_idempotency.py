"""`Idempotency-Key`: however often and wherever a request is posted again, it becomes one run."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
from chatkit.types import ThreadMetadata, UserMessageItem

from relaykit.shared.settings import Settings
from tests.integration.written import written
from tests.support.servers.protocol_servers import Events, ProtocolServer
from tests.support.system import WAIT_SECONDS, Answer, Caller, System, create, message, running, wait_until

POSTS = 50


@dataclass
class Served:
    """What the servers of one system did, and whether they may go on."""

    responses: int = 0
    open: asyncio.Event = field(default_factory=asyncio.Event)


class CountedServer(ProtocolServer):
    """Counts its answers, and holds each until it may go on."""

    def __init__(self, served: Served) -> None:
        super().__init__(store=None)
        self.served = served

    async def respond(
        self, thread: ThreadMetadata, input_user_message: UserMessageItem | None, context: Any
    ) -> Events:
        self.served.responses += 1
        async for event in super().respond(thread, input_user_message, context):
            yield event
            await self.served.open.wait()


@pytest.fixture
def served() -> Served:
    served = Served()
    served.open.set()
    return served


@pytest.fixture
async def system(settings: Settings, served: Served) -> AsyncIterator[System]:
    async with running(settings, lambda: CountedServer(served), apis=2) as system:
        yield system


@pytest.fixture
async def alice(system: System) -> Caller:
    return await system.caller("alice", "acme")


def keyed(key: str) -> dict[str, str]:
    return {"Idempotency-Key": key}


async def counts(system: System) -> dict[str, int]:
    found = await written(system.settings.database_url, system.settings.redis_url)
    return {table: found.rows[table][0] for table in ("threads", "items", "runs")}


async def test_the_same_request_again_after_the_end(system: System, alice: Caller, served: Served) -> None:
    """The same run, the same bytes, from another API too; nothing is written and nothing is answered twice."""
    body = create("hello")
    first = await alice.stream(body, keyed("k1"))
    before = await counts(system)
    elsewhere = await system.caller("alice", "acme", api=1)
    for caller in (alice, elsewhere):
        again = await caller.stream(body, keyed("k1"))
        assert again.run_id == first.run_id
        assert again.raw == first.raw
    assert again.end == "completed"
    assert served.responses == 1
    assert await counts(system) == before == {"threads": 1, "items": 2, "runs": 1}


async def test_the_same_request_while_it_runs(system: System, alice: Caller, served: Served) -> None:
    """It joins the run from its start and sees it to its end."""
    served.open.clear()
    body = create("hello")
    async with alice.open_stream(body, keyed("k1")) as response:
        run_id = response.headers["x-run-id"]
        again = asyncio.create_task(alice.stream(body, keyed("k1")))
        async with asyncio.timeout(WAIT_SECONDS):
            async for part in response.aiter_bytes():
                if b"thread.item.added" in part:
                    break
        served.open.set()
    answer = await again
    assert (answer.run_id, answer.end, answer.text) == (run_id, "completed", "You said: hello")
    assert await counts(system) == {"threads": 1, "items": 2, "runs": 1}


async def _pending_question(alice: Caller) -> dict[str, Any]:
    asked = await alice.stream(create("questions"))
    item_id = (await alice.items(asked.thread_id))[-1]["id"]
    given = {"answers": {"why": {"values": ["x"]}}}
    params = {"thread_id": asked.thread_id, "item_id": item_id, "input": given}
    return {"type": "threads.add_structured_input", "params": params}


async def _pending_tool(alice: Caller) -> dict[str, Any]:
    asked = await alice.stream(create("tool"))
    params = {"thread_id": asked.thread_id, "result": 1}
    return {"type": "threads.add_client_tool_output", "params": params}


async def _retry(alice: Caller) -> dict[str, Any]:
    asked = await alice.stream(create("again"))
    item_id = (await alice.items(asked.thread_id))[0]["id"]
    params = {"thread_id": asked.thread_id, "item_id": item_id}
    return {"type": "threads.retry_after_item", "params": params}


async def _action(alice: Caller) -> dict[str, Any]:
    asked = await alice.stream(create("widget"))
    item_id = (await alice.items(asked.thread_id))[-1]["id"]
    params = {"thread_id": asked.thread_id, "item_id": item_id, "action": {"type": "a", "payload": {"by": 1}}}
    return {"type": "threads.custom_action", "params": params}


async def _new_thread(alice: Caller) -> dict[str, Any]:
    return create("hello")


async def _message(alice: Caller) -> dict[str, Any]:
    return message((await alice.stream(create("hello"))).thread_id, "second")


PREPARED: dict[str, tuple[Callable[[Caller], Awaitable[dict[str, Any]]], int]] = {
    "threads.create": (_new_thread, 2),
    "threads.add_user_message": (_message, 2),
    "threads.add_client_tool_output": (_pending_tool, 1),
    "threads.add_structured_input": (_pending_question, 1),
    "threads.retry_after_item": (_retry, 0),
    "threads.custom_action": (_action, 1),
}
"""For each kind: what to post, and how many items one run of it adds."""


@pytest.mark.parametrize(
    ("kind", "policy"),
    [
        *((kind, "reject") for kind in PREPARED),
        ("threads.add_user_message", "queue"),
        ("threads.add_user_message", "interrupt"),
        ("threads.retry_after_item", "queue"),
    ],
)
async def test_fifty_posts_at_once_to_two_apis(
    settings: Settings, served: Served, kind: str, policy: str
) -> None:
    """All get the one run's answer, whole; the thread looks as after one post."""
    policed = settings.model_copy(update={"thread_policy": policy})
    prepare, added = PREPARED[kind]
    async with running(policed, lambda: CountedServer(served), apis=2) as system:
        callers = [await system.caller("alice", "acme", api=number) for number in (0, 1)]
        body = await prepare(callers[0])
        before, answered = await counts(system), served.responses
        answers = await asyncio.gather(
            *(_answered(callers[number % 2], body, keyed("once")) for number in range(POSTS))
        )
        assert len({answer.run_id for answer in answers}) == 1
        assert len({tuple(_events(answer)) for answer in answers}) == 1
        assert {answer.end for answer in answers} == {"completed"}
        after = await counts(system)
        assert after["runs"] - before["runs"] == 1
        assert after["items"] - before["items"] == added
        assert served.responses - answered == (0 if kind == "threads.custom_action" else 1)


async def _answered(caller: Caller, body: dict[str, Any], headers: dict[str, str]) -> Answer:
    """As a client does it that is told to come again: a machine may be too slow for Redis to answer in time."""
    while (response := await caller.post(body, headers)).status_code == 503:
        assert int(response.headers["retry-after"]) > 0
    assert response.status_code == 200, response.text
    return Answer(response.status_code, response.headers, response.content)


def _events(answer: Answer) -> list[str]:
    """The events without the way in which the text was cut into deltas, which a replay may join."""
    events = [event for event in answer.events if event["type"] != "thread.item.updated"]
    return [json.dumps(event, sort_keys=True) for event in events] + [answer.text]


async def test_the_same_key_with_another_body(system: System, alice: Caller) -> None:
    """It is refused, whatever differs and whether or not the run has ended; nothing is written."""
    body = create("hello")
    first = await alice.stream(body, keyed("k1"))
    before = await written(system.settings.database_url, system.settings.redis_url)
    others: list[Any] = [
        create("hello!"),
        {**body, "metadata": {"page": 1}},
        message(first.thread_id, "hello"),
        json.dumps(body, indent=1).encode(),
    ]
    for other in others:
        response = await alice.post(other, keyed("k1"))
        assert (response.status_code, response.json()["error"]["code"]) == (422, "idempotency_mismatch")
    assert await written(system.settings.database_url, system.settings.redis_url) == before


async def test_two_bodies_at_once_with_one_key(system: System, alice: Caller) -> None:
    """One of them is the run, all posts of the other are refused."""
    bodies = [create("left"), create("right")]
    responses = await asyncio.gather(*(alice.post(bodies[number % 2], keyed("k1")) for number in range(20)))
    statuses = [response.status_code for response in responses]
    assert sorted({tuple(statuses[0::2]), tuple(statuses[1::2])}) == [(200,) * 10, (422,) * 10]
    assert await counts(system) == {"threads": 1, "items": 2, "runs": 1}


async def test_a_key_belongs_to_its_caller(system: System) -> None:
    """Other users and other tenants have the same key for themselves."""
    callers = [
        await system.caller("alice", "acme"),
        await system.caller("bob", "acme"),
        await system.caller("alice", "globex"),
        await system.caller("alice"),
    ]
    answers = [await caller.stream(create("hello"), keyed("k1")) for caller in callers]
    assert len({answer.run_id for answer in answers}) == 4
    again = await (await system.caller("alice", "acme")).stream(create("hello"), keyed("k1"))
    assert again.run_id == answers[0].run_id


async def test_different_keys_are_different_messages(system: System, alice: Caller) -> None:
    """The user may well say the same thing twice."""
    first = await alice.stream(create("hello"), keyed("k1"))
    second = await alice.stream(create("hello"), keyed("k2"))
    assert first.run_id != second.run_id
    assert await counts(system) == {"threads": 2, "items": 4, "runs": 2}


async def test_a_client_that_was_cut_off_posts_again(system: System, alice: Caller, served: Served) -> None:
    """In mid-answer: the second post shows the whole answer of the first one's run."""
    served.open.clear()
    body = create("hello")
    async with alice.open_stream(body, keyed("k1")) as response:
        run_id = response.headers["x-run-id"]
        await anext(response.aiter_bytes())
    served.open.set()
    answer = await (await system.caller("alice", "acme", api=1)).stream(body, keyed("k1"))
    assert (answer.run_id, answer.end, answer.text) == (run_id, "completed", "You said: hello")
    assert served.responses == 1
    assert await counts(system) == {"threads": 1, "items": 2, "runs": 1}


async def test_a_client_that_was_cut_off_before_any_answer(system: System, alice: Caller) -> None:
    """It does not know whether its message was taken: it posts again, and the message is there once."""
    body = json.dumps(create("hello")).encode()
    for number in range(5):
        await _post_and_hang_up(system.urls[number % 2], alice.token, body, f"cut-{number}")
    for number in range(5):
        answer = await alice.stream(create("hello"), keyed(f"cut-{number}"))
        assert (answer.end, answer.text) == ("completed", "You said: hello")
    assert await counts(system) == {"threads": 5, "items": 10, "runs": 5}


async def _post_and_hang_up(url: str, token: str, body: bytes, key: str) -> None:
    address = urlsplit(url)
    _, writer = await asyncio.open_connection(address.hostname, address.port)
    head = (
        f"POST /chatkit HTTP/1.1\r\nHost: {address.netloc}\r\nAuthorization: Bearer {token}\r\n"
        f"Idempotency-Key: {key}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    await writer.drain()
    writer.close()
    await writer.wait_closed()


async def test_a_refused_request_does_not_use_up_its_key(
    settings: Settings, system: System, alice: Caller
) -> None:
    """What was refused may be sent again, once it can be taken."""
    thread_id = (await alice.stream(create("hello"))).thread_id
    refused = await alice.post(message("thr_0", "hello"), keyed("k1"))
    assert refused.status_code == 404
    assert (await alice.stream(message(thread_id, "hello"), keyed("k1"))).end == "completed"


async def test_the_key_of_a_run_that_was_stopped(system: System, alice: Caller, served: Served) -> None:
    """The stop stands: the same request shows the stopped run and does not begin again."""
    served.open.clear()
    body = create("hello")
    async with alice.open_stream(body, keyed("k1")) as response:
        run_id = response.headers["x-run-id"]
        await wait_until("the run has begun", lambda: served.responses)
        assert (await alice.cancel(run_id)).status_code == 202
        raw = b"".join([part async for part in response.aiter_bytes()])
    assert b": end cancelled" in raw
    served.open.set()
    again = await alice.stream(body, keyed("k1"))
    assert (again.run_id, again.end) == (run_id, "cancelled")
    assert served.responses == 1


async def test_a_key_of_every_allowed_character(system: System, alice: Caller) -> None:
    """1 to 255 visible ASCII characters; kept as they are."""
    visible = "".join(map(chr, range(0x21, 0x7F)))
    for key in ("a", "A", visible, "k" * 255):
        first = await alice.stream(create(key[:1]), keyed(key))
        assert (await alice.stream(create(key[:1]), keyed(key))).run_id == first.run_id
    connection = await asyncpg.connect(system.settings.database_url)
    try:
        assert await connection.fetchval("SELECT count(DISTINCT idempotency_key) FROM runs") == 4
    finally:
        await connection.close()
