"""What a second message does while its thread has an active run, and what becomes of runs whose thread is deleted."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar

import asyncpg
import pytest
from chatkit.types import (
    AssistantMessageContent,
    AssistantMessageContentPartTextDelta,
    AssistantMessageItem,
    ThreadItemAddedEvent,
    ThreadItemDoneEvent,
    ThreadItemUpdatedEvent,
    ThreadMetadata,
    UserMessageItem,
)

from relaykit.shared.settings import Settings
from tests.support.servers.protocol_servers import BareServer, Events, text_of
from tests.support.system import WAIT_SECONDS, Answer, Caller, System, create, message, running, wait_until


@dataclass
class Gates:
    """Each message's answer waits at a gate of its own until the test opens it."""

    begun: Counter[str] = field(default_factory=Counter)
    at_once: Counter[str] = field(default_factory=Counter)
    most_at_once: int = 0
    may_stop: asyncio.Event = field(default_factory=asyncio.Event)
    """Closed, it holds an answer that is being stopped."""
    _gates: defaultdict[str, asyncio.Event] = field(default_factory=lambda: defaultdict(asyncio.Event))

    def open(self, *texts: str) -> None:
        for text in texts:
            self._gates[text].set()

    async def passed(self, text: str) -> None:
        await self._gates[text].wait()


class GatedServer(BareServer):
    """Says "re <message>:", and after the gate "done"."""

    def __init__(self, gates: Gates) -> None:
        super().__init__(store=None)
        self.gates = gates

    async def respond(
        self, thread: ThreadMetadata, input_user_message: UserMessageItem | None, context: Any
    ) -> Events:
        text = "" if input_user_message is None else text_of(input_user_message)
        item = AssistantMessageItem(
            id=self.store.generate_item_id("message", thread, context),
            thread_id=thread.id,
            created_at=datetime.now(),
            content=[AssistantMessageContent(text="")],
        )
        self.gates.begun[text] += 1
        self.gates.at_once[thread.id] += 1
        self.gates.most_at_once = max(self.gates.most_at_once, self.gates.at_once[thread.id])
        try:
            yield ThreadItemAddedEvent(item=item.model_copy(deep=True))
            yield self._said(item, f"re {text}:")
            await self.gates.passed(text)
            yield self._said(item, " done")
            yield ThreadItemDoneEvent(item=item)
        except asyncio.CancelledError:
            await self.gates.may_stop.wait()
            raise
        finally:
            self.gates.at_once[thread.id] -= 1

    def _said(self, item: AssistantMessageItem, delta: str) -> ThreadItemUpdatedEvent:
        item.content[0].text += delta
        update = AssistantMessageContentPartTextDelta(content_index=0, delta=delta)
        return ThreadItemUpdatedEvent(item_id=item.id, update=update)


@pytest.fixture
def gates() -> Gates:
    gates = Gates()
    gates.may_stop.set()
    return gates


Run = Callable[..., AbstractAsyncContextManager[System]]


@pytest.fixture
def system(settings: Settings, gates: Gates) -> Run:
    """`async with system(thread_policy="reject") as running:` two APIs and a worker."""

    def run(**changes: Any) -> AbstractAsyncContextManager[System]:
        return running(settings.model_copy(update=changes), lambda: GatedServer(gates), apis=2)

    return run


class Posted:
    """A post whose answer arrives in the background."""

    tasks: ClassVar[list[asyncio.Task[Answer]]] = []

    def __init__(self, caller: Caller, body: dict[str, Any]) -> None:
        self.headers: asyncio.Future[dict[str, str]] = asyncio.get_running_loop().create_future()
        self.raw = b""
        self._task = asyncio.create_task(self._read(caller, body))
        self.tasks.append(self._task)

    async def _read(self, caller: Caller, body: dict[str, Any]) -> Answer:
        async with caller.open_stream(body) as response:
            if response.status_code != 200:
                await response.aread()
                raise AssertionError(response.text)
            self.headers.set_result(dict(response.headers))
            async for part in response.aiter_bytes():
                self.raw += part
            return Answer(response.status_code, response.headers, self.raw)

    async def run_id(self) -> str:
        await wait_until("the post is answered", lambda: self.headers.done() or self._task.done())
        return (self.headers if self.headers.done() else self._task).result()["x-run-id"]

    async def answer(self) -> Answer:
        return await asyncio.wait_for(self._task, WAIT_SECONDS)


@pytest.fixture(autouse=True)
async def posts_are_left() -> AsyncIterator[None]:
    yield
    for task in Posted.tasks:
        task.cancel()
    await asyncio.gather(*Posted.tasks, return_exceptions=True)
    Posted.tasks.clear()


async def status(caller: Caller, run_id: str) -> str:
    return str((await caller.get(f"/runs/{run_id}")).json()["status"])


async def has_status(caller: Caller, run_id: str, wanted: str) -> None:
    async def has() -> bool:
        return await status(caller, run_id) == wanted

    await wait_until(f"run {run_id} is {wanted}", has)


async def begun(gates: Gates, text: str) -> None:
    await wait_until(f"the answer to {text!r} has begun", lambda: gates.begun[text])


async def conversation(caller: Caller, thread_id: str) -> list[str]:
    """What stands in the thread, in its order."""
    return [item["content"][0]["text"] for item in await caller.items(thread_id)]


async def thread_of(gates: Gates, caller: Caller) -> str:
    gates.open("hello")
    return (await caller.stream(create("hello"))).thread_id


HELLO = ["hello", "re hello: done"]


# --- queue


async def test_queue_lets_a_second_message_wait(system: Run, gates: Gates) -> None:
    """It is shown at once, answered after the first answer, and stands after that in the thread."""
    async with system() as running_system:
        alice = await running_system.caller()
        elsewhere = await running_system.caller(api=1)
        thread_id = await thread_of(gates, alice)
        first = Posted(alice, message(thread_id, "one"))
        await begun(gates, "one")
        second = Posted(elsewhere, message(thread_id, "two"))
        await wait_until("the second message is shown", lambda: b"stream_options" in second.raw)
        assert await status(alice, await second.run_id()) == "waiting"
        active = (await alice.get(f"/threads/{thread_id}/run")).json()
        assert active["id"] == await first.run_id()

        gates.open("one")
        assert (await first.answer()).text == "re one: done"
        await begun(gates, "two")
        active = (await alice.get(f"/threads/{thread_id}/run")).json()
        assert active["id"] == await second.run_id()
        gates.open("two")
        answer = await second.answer()
        assert (answer.text, answer.end) == ("re two: done", "completed")
        assert await conversation(alice, thread_id) == [*HELLO, "one", "re one: done", "two", "re two: done"]
        assert (await alice.get(f"/threads/{thread_id}/run")).status_code == 204


async def test_queue_keeps_the_order_of_many(system: Run, gates: Gates) -> None:
    """Messages that come at once to two APIs are answered one after the other, each after its own question."""
    async with system() as running_system:
        callers = [await running_system.caller(api=number) for number in (0, 1)]
        thread_id = await thread_of(gates, callers[0])
        texts = [f"m{number}" for number in range(10)]
        gates.open(*texts)
        answers = await asyncio.gather(
            *(callers[number % 2].stream(message(thread_id, text)) for number, text in enumerate(texts))
        )
        assert [answer.text for answer in answers] == [f"re {text}: done" for text in texts]
        assert gates.most_at_once == 1
        found = (await conversation(callers[0], thread_id))[2:]
        assert sorted(found[0::2]) == texts
        assert found[1::2] == [f"re {text}: done" for text in found[0::2]]


async def test_a_waiting_run_can_be_cancelled(system: Run, gates: Gates) -> None:
    """It never begins; the one before it and the one behind it are not disturbed."""
    async with system() as running_system:
        alice = await running_system.caller()
        thread_id = await thread_of(gates, alice)
        posted = {}
        for text in ("one", "two", "three"):
            posted[text] = Posted(alice, message(thread_id, text))
            await posted[text].run_id()
        await begun(gates, "one")
        response = await alice.cancel(await posted["two"].run_id())
        assert (response.status_code, response.json()["status"]) == (202, "cancelled")
        assert (await posted["two"].answer()).end == "cancelled"
        assert await status(alice, await posted["one"].run_id()) == "running"
        assert await status(alice, await posted["three"].run_id()) == "waiting"

        gates.open("one", "three")
        assert (await posted["one"].answer()).end == "completed"
        assert (await posted["three"].answer()).text == "re three: done"
        assert gates.begun["two"] == 0
        found = await conversation(alice, thread_id)
        assert found[-2:] == ["three", "re three: done"]
        assert sorted(found) == sorted([*HELLO, "one", "re one: done", "two", "three", "re three: done"])


async def test_stopping_the_active_run_lets_the_next_begin(system: Run, gates: Gates) -> None:
    """The partial answer stays, and the message that waited comes after it."""
    async with system() as running_system:
        alice = await running_system.caller()
        thread_id = await thread_of(gates, alice)
        gates.open("two")
        first = Posted(alice, message(thread_id, "one"))
        await begun(gates, "one")
        second = Posted(alice, message(thread_id, "two"))
        await second.run_id()
        await alice.cancel(await first.run_id())
        assert (await first.answer()).end == "cancelled"
        assert (await second.answer()).end == "completed"
        assert await conversation(alice, thread_id) == [*HELLO, "one", "re one:", "two", "re two: done"]


async def test_what_cannot_wait_is_refused(system: Run, gates: Gates) -> None:
    """A retry of another message would delete what the active run is about to answer."""
    async with system() as running_system:
        alice = await running_system.caller()
        thread_id = await thread_of(gates, alice)
        hello = (await alice.items(thread_id))[0]["id"]
        first = Posted(alice, message(thread_id, "one"))
        await begun(gates, "one")
        before = await conversation(alice, thread_id)
        params = {"thread_id": thread_id, "item_id": hello}
        response = await alice.post({"type": "threads.retry_after_item", "params": params})
        assert (response.status_code, response.json()["error"]["code"]) == (409, "thread_busy")
        assert response.json()["error"]["run_id"] == await first.run_id()
        assert await conversation(alice, thread_id) == before
        gates.open("one")
        assert (await first.answer()).end == "completed"


async def test_threads_do_not_wait_for_each_other(system: Run, gates: Gates) -> None:
    """The policy is a thread's own affair."""
    async with system() as running_system:
        alice = await running_system.caller()
        first = Posted(alice, create("one"))
        await begun(gates, "one")
        gates.open("two")
        assert (await alice.stream(create("two"))).end == "completed"
        gates.open("one")
        assert (await first.answer()).end == "completed"


# --- reject


async def test_reject_answers_409(system: Run, gates: Gates) -> None:
    """With the run's id; nothing of the message stays. Afterwards the thread takes messages again."""
    async with system(thread_policy="reject") as running_system:
        alice = await running_system.caller()
        elsewhere = await running_system.caller(api=1)
        thread_id = await thread_of(gates, alice)
        first = Posted(alice, message(thread_id, "one"))
        await begun(gates, "one")
        response = await elsewhere.post(message(thread_id, "two"))
        assert response.status_code == 409
        error = response.json()["error"]
        assert (error["code"], error["run_id"]) == ("thread_busy", await first.run_id())
        gates.open("one", "two")
        assert (await first.answer()).end == "completed"
        assert await conversation(alice, thread_id) == [*HELLO, "one", "re one: done"]
        assert (await elsewhere.stream(message(thread_id, "two"))).text == "re two: done"


async def test_reject_takes_one_of_many_at_once(system: Run, gates: Gates) -> None:
    """Kept by the database, not by looking first."""
    async with system(thread_policy="reject") as running_system:
        callers = [await running_system.caller(api=number) for number in (0, 1)]
        thread_id = await thread_of(gates, callers[0])
        texts = [f"m{number}" for number in range(20)]
        posts = [
            asyncio.create_task(callers[number % 2].post(message(thread_id, text)))
            for number, text in enumerate(texts)
        ]
        await wait_until("all but one are refused", lambda: sum(post.done() for post in posts) == 19)
        (winner,) = [text for post, text in zip(posts, texts, strict=True) if not post.done()]
        gates.open(*texts)
        statuses = Counter(response.status_code for response in await asyncio.gather(*posts))
        assert statuses == {200: 1, 409: 19}
        assert await conversation(callers[0], thread_id) == [*HELLO, winner, f"re {winner}: done"]


# --- interrupt


async def test_interrupt_stops_the_active_run(system: Run, gates: Gates) -> None:
    """Its partial answer stays before the new message, which is answered at once."""
    async with system(thread_policy="interrupt") as running_system:
        alice = await running_system.caller()
        elsewhere = await running_system.caller(api=1)
        thread_id = await thread_of(gates, alice)
        first = Posted(alice, message(thread_id, "one"))
        await begun(gates, "one")
        gates.open("two")
        second = await elsewhere.stream(message(thread_id, "two"))
        assert (second.text, second.end) == ("re two: done", "completed")
        assert (await first.answer()).end == "cancelled"
        assert await conversation(alice, thread_id) == [*HELLO, "one", "re one:", "two", "re two: done"]


async def test_interrupt_by_several_messages(system: Run, gates: Gates) -> None:
    """Only the last one is answered: it stops those that had not begun yet as well."""
    async with system(thread_policy="interrupt") as running_system:
        alice = await running_system.caller()
        thread_id = await thread_of(gates, alice)
        posted = {}
        gates.may_stop.clear()
        gates.open("four")
        for text in ("one", "two", "three", "four"):
            posted[text] = Posted(alice, message(thread_id, text))
            await posted[text].run_id()
            await begun(gates, "one")
        for text in ("two", "three"):
            assert (await posted[text].answer()).end == "cancelled"
        assert await status(alice, await posted["one"].run_id()) == "running"
        gates.may_stop.set()
        last = await posted["four"].answer()
        assert (last.text, last.end) == ("re four: done", "completed")
        assert (await posted["one"].answer()).end == "cancelled"
        assert gates.begun["two"] == gates.begun["three"] == 0
        assert (await conversation(alice, thread_id))[-2:] == ["four", "re four: done"]


async def test_interrupt_of_a_run_that_nobody_picked_up(system: Run, gates: Gates) -> None:
    """It ends without having begun."""
    async with system(thread_policy="interrupt", max_runs=1) as running_system:
        alice = await running_system.caller()
        thread_id = await thread_of(gates, alice)
        busy = Posted(alice, create("elsewhere"))
        await begun(gates, "elsewhere")
        first = Posted(alice, message(thread_id, "one"))
        assert await status(alice, await first.run_id()) == "queued"
        second = Posted(alice, message(thread_id, "two"))
        await second.run_id()
        assert (await first.answer()).end == "cancelled"
        gates.open("elsewhere", "two")
        assert (await second.answer()).text == "re two: done"
        assert (await busy.answer()).end == "completed"
        assert gates.begun["one"] == 0


# --- a retry of what is being answered


@pytest.mark.parametrize("policy", ["queue", "reject", "interrupt"])
async def test_a_retry_of_the_message_that_is_being_answered(system: Run, gates: Gates, policy: str) -> None:
    """The stock widget's Retry after a lost network: it joins the run from its start and disturbs nothing."""
    async with system(thread_policy=policy) as running_system:
        alice = await running_system.caller()
        elsewhere = await running_system.caller(api=1)
        thread_id = await thread_of(gates, alice)
        async with alice.open_stream(message(thread_id, "one")) as response:
            run_id = response.headers["x-run-id"]
            await begun(gates, "one")
        item_id = (await alice.items(thread_id))[-1]["id"]
        params = {"thread_id": thread_id, "item_id": item_id}
        retry = Posted(elsewhere, {"type": "threads.retry_after_item", "params": params})
        assert await retry.run_id() == run_id
        await wait_until("the retry shows the answer so far", lambda: b"re one:" in retry.raw)
        gates.open("one")
        answer = await retry.answer()
        assert (answer.text, answer.end) == ("re one: done", "completed")
        assert gates.begun["one"] == 1
        assert await conversation(alice, thread_id) == [*HELLO, "one", "re one: done"]


async def test_a_retry_of_a_message_that_waits(system: Run, gates: Gates) -> None:
    """It joins the run that waits."""
    async with system() as running_system:
        alice = await running_system.caller()
        thread_id = await thread_of(gates, alice)
        first = Posted(alice, message(thread_id, "one"))
        await begun(gates, "one")
        async with alice.open_stream(message(thread_id, "two")) as response:
            run_id = response.headers["x-run-id"]
        items = {item["content"][0]["text"]: item["id"] for item in await alice.items(thread_id)}
        params = {"thread_id": thread_id, "item_id": items["two"]}
        retry = Posted(alice, {"type": "threads.retry_after_item", "params": params})
        assert await retry.run_id() == run_id
        gates.open("one", "two")
        assert (await retry.answer()).text == "re two: done"
        assert (await first.answer()).end == "completed"


# --- deleting


async def assert_nothing_is_left(system: System) -> None:
    """No active run, no item and no thread."""
    connection = await asyncpg.connect(system.settings.database_url)
    try:

        async def none_active() -> bool:
            active = "SELECT count(*) FROM runs WHERE status IN ('waiting', 'queued', 'running')"
            return await connection.fetchval(active) == 0

        await wait_until("no run is active", none_active)
        assert await connection.fetchval("SELECT count(*) FROM items") == 0
        assert await connection.fetchval("SELECT count(*) FROM threads") == 0
    finally:
        await connection.close()


@pytest.fixture
async def alone(system: Run) -> AsyncIterator[System]:
    async with system(max_runs=1) as running_system:
        yield running_system


async def delete(caller: Caller, thread_id: str) -> None:
    assert await caller.ask({"type": "threads.delete", "params": {"thread_id": thread_id}}) == {}
    response = await caller.post({"type": "items.list", "params": {"thread_id": thread_id}})
    assert response.status_code == 404


async def test_deleting_a_thread_stops_its_run(alone: System, gates: Gates) -> None:
    """Whoever follows the run sees its end; nothing of the thread comes back, and the worker is free."""
    alice = await alone.caller()
    elsewhere = await alone.caller(api=1)
    posted = Posted(alice, create("one"))
    await begun(gates, "one")
    thread_id = (await alice.get(f"/runs/{await posted.run_id()}")).json()["thread_id"]
    await delete(elsewhere, thread_id)
    answer = await posted.answer()
    assert answer.end == "cancelled"
    assert not answer.of_type("error")
    await assert_nothing_is_left(alone)
    gates.open("two")
    assert (await alice.stream(create("two"))).end == "completed"


async def test_deleting_a_thread_stops_the_runs_that_wait(alone: System, gates: Gates) -> None:
    """None of them begins."""
    alice = await alone.caller()
    first = Posted(alice, create("one"))
    await begun(gates, "one")
    thread_id = (await alice.get(f"/runs/{await first.run_id()}")).json()["thread_id"]
    waiting = [Posted(alice, message(thread_id, text)) for text in ("two", "three")]
    for posted in waiting:
        await posted.run_id()
    await delete(alice, thread_id)
    for posted in (first, *waiting):
        assert (await posted.answer()).end == "cancelled"
    await assert_nothing_is_left(alone)
    assert gates.begun["two"] == gates.begun["three"] == 0
    gates.open("four")
    assert (await alice.stream(create("four"))).end == "completed"


async def test_deleting_a_thread_whose_run_nobody_picked_up(alone: System, gates: Gates) -> None:
    """It ends there and then, and is not executed later."""
    alice = await alone.caller()
    busy = Posted(alice, create("elsewhere"))
    await begun(gates, "elsewhere")
    posted = Posted(alice, create("one"))
    thread_id = (await alice.get(f"/runs/{await posted.run_id()}")).json()["thread_id"]
    await delete(alice, thread_id)
    assert (await posted.answer()).end == "cancelled"
    gates.open("elsewhere", "one")
    assert (await busy.answer()).end == "completed"
    assert gates.begun["one"] == 0
