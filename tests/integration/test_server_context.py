"""CHATKIT_CONTEXT in any form, what it refuses, and the header fields that reach it; in the API and in the worker."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import functools
import json
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from chatkit.types import (
    AudioInput,
    StreamOptions,
    ThreadMetadata,
    TranscriptionResult,
    UserMessageItem,
)
from starlette.exceptions import HTTPException

from relaykit.shared.identity import RequestContext
from relaykit.shared.settings import Settings
from relaykit.worker.main import create_worker
from tests.integration.written import written
from tests.support.clients.stream_clients import asking
from tests.support.servers.protocol_servers import Events, ProtocolServer
from tests.support.servers.user_servers import SqliteStore
from tests.support.system import Caller, System, create, message, running

HERE = "tests.integration.test_server_context"
WORDS = "Your trial is over."
FILE = {"name": "a.txt", "size": 3, "mime_type": "text/plain"}
TRANSCRIBE = {"type": "input.transcribe", "params": {"audio_base64": "AAAA", "mime_type": "audio/webm"}}


@dataclass(frozen=True)
class SiteContext:
    user_id: str
    request: RequestContext


@dataclass
class Door:
    """What the contexts of this module do."""

    is_closed_to: frozenset[str] = frozenset()
    """`api` and `worker`: which of them refuses everybody."""
    status: int = 403
    hangs_in: frozenset[str] = frozenset()
    fails_in: frozenset[str] = frozenset()
    held: asyncio.Event = field(default_factory=asyncio.Event)


door = Door()


@pytest.fixture(autouse=True)
def _open() -> None:
    global door
    door = Door()


async def async_context(request: RequestContext) -> SiteContext:
    await asyncio.sleep(0)
    side = "api" if request.attempt is None else "worker"
    if side in door.is_closed_to:
        raise HTTPException(door.status, WORDS)
    if side in door.hangs_in:
        await asyncio.Event().wait()
    if side in door.fails_in:
        raise LookupError("Geheim7391")
    return SiteContext(request.user_id, request)


class CallableContext:
    async def __call__(self, request: RequestContext) -> SiteContext:
        return await async_context(request)


async def _with_plan(plan: str, request: RequestContext) -> SiteContext:
    assert plan == "pro"
    return await async_context(request)


def returning_context(request: RequestContext) -> Awaitable[SiteContext]:
    return asyncio.ensure_future(async_context(request))


def sync_context(request: RequestContext) -> SiteContext:
    if ("api" if request.attempt is None else "worker") in door.is_closed_to:
        raise HTTPException(door.status, WORDS)
    return SiteContext(request.user_id, request)


callable_context = CallableContext()
partial_context = functools.partial(_with_plan, "pro")
FORMS = ("async_context", "callable_context", "partial_context", "returning_context", "sync_context")


class ContextServer(ProtocolServer):
    """Says whose context it got; with `hold` it stores an answer and then waits."""

    async def respond(
        self, thread: ThreadMetadata, input_user_message: UserMessageItem | None, context: Any
    ) -> Events:
        assert type(context) is SiteContext, type(context)
        text = input_user_message.content[0].text if input_user_message else ""
        async for event in self.say(thread, f"{context.user_id} said {text}", context):
            yield event
        if text == "hold":
            await door.held.wait()

    async def transcribe(self, audio_input: AudioInput, context: Any) -> TranscriptionResult:
        assert type(context) is SiteContext, type(context)
        return TranscriptionResult(text=context.user_id)


@asynccontextmanager
async def serving(settings: Settings, name: str = "async_context", **changes: Any) -> AsyncIterator[System]:
    given = settings.model_copy(update={"chatkit_context": f"{HERE}:{name}", **changes})
    async with running(given, lambda: ContextServer(store=None)) as system:
        yield system


@asynccontextmanager
async def working(settings: Settings) -> AsyncIterator[None]:
    worker = create_worker(settings, ContextServer(store=None))
    task = asyncio.create_task(worker.run())
    try:
        yield
    finally:
        worker.drain()
        await task


async def stored(caller: Caller, thread_id: str) -> list[str]:
    return [item["content"][0]["text"] for item in await caller.items(thread_id)]


async def error_of(caller: Caller, run_id: str) -> tuple[str, str | None]:
    run = (await caller.get(f"/runs/{run_id}")).json()
    return run["status"], run["error"]


# --- awaited


@pytest.mark.parametrize("name", FORMS)
async def test_a_context_of_any_form_reaches_the_server_as_what_it_gives(
    settings: Settings, name: str
) -> None:
    """In the API, in the worker, for a message behind another one, and for a stop before its run began."""
    async with serving(settings, name) as system:
        alice = await system.caller("alice")
        first = await alice.stream(create("hello"))
        assert (first.text, first.end) == ("alice said hello", "completed")
        assert (await alice.ask(TRANSCRIBE))["text"] == "alice"
        thread = first.thread_id
        async with asking(alice, message(thread, "hold")) as held:
            await held.until("it was answered", lambda answer: answer.text == "alice said hold")
            async with (
                asking(alice, message(thread, "stopped")) as stopped,
                asking(alice, message(thread, "behind")) as behind,
            ):
                await stopped.until("it waits", lambda answer: answer.of_type("stream_options"))
                await behind.until("it waits", lambda answer: answer.of_type("stream_options"))
                assert (await alice.cancel(stopped.run_id)).json()["status"] == "cancelled"
                assert (await stopped.finished()).end == "cancelled"
                door.held.set()
                assert (await held.finished()).end == "completed"
                assert (await behind.finished()).text == "alice said behind"
        assert (await stored(alice, thread))[-2:] == ["behind", "alice said behind"]


# --- refused


REFUSED: dict[str, Any] = {
    "a new thread": lambda thread, item: create("hi"),
    "a message": lambda thread, item: message(thread, "hi"),
    "a retry": lambda thread, item: {
        "type": "threads.retry_after_item",
        "params": {"thread_id": thread, "item_id": item},
    },
    "an action": lambda thread, item: {
        "type": "threads.custom_action",
        "params": {"thread_id": thread, "action": {"type": "a", "payload": {}}},
    },
    "a sync action": lambda thread, item: {
        "type": "threads.sync_custom_action",
        "params": {"thread_id": thread, "action": {"type": "a", "payload": {}}},
    },
    "a thread": lambda thread, item: {"type": "threads.get_by_id", "params": {"thread_id": thread}},
    "the list": lambda thread, item: {"type": "threads.list", "params": {}},
    "a title": lambda thread, item: {
        "type": "threads.update",
        "params": {"thread_id": thread, "title": "Mine"},
    },
    "a deletion": lambda thread, item: {"type": "threads.delete", "params": {"thread_id": thread}},
    "feedback": lambda thread, item: {
        "type": "items.feedback",
        "params": {"thread_id": thread, "item_ids": [item], "kind": "positive"},
    },
    "a file": lambda thread, item: {"type": "attachments.create", "params": FILE},
    "dictation": lambda thread, item: TRANSCRIBE,
}


@pytest.mark.parametrize("name", ["async_context", "sync_context"])
async def test_a_context_that_refuses_the_caller_answers_in_the_sites_words_with_nothing_written(
    settings: Settings, tmp_path: Path, name: str
) -> None:
    """Every kind of request; a deletion stops no run of the thread's."""
    attachments = {"attachments_url": f"file://{tmp_path}", "attachments_key": "k" * 43}
    async with serving(settings, name, **attachments) as system:
        alice = await system.caller("alice")
        async with asking(alice, create("hold")) as held:
            await held.until("it was answered", lambda answer: answer.text == "alice said hold")
            busy, thread = held.answer.thread_id, (await alice.stream(create("hello"))).thread_id
            item = (await alice.items(thread))[0]["id"]
            before = await written(settings.database_url, settings.redis_url)
            door.is_closed_to = frozenset({"api"})
            for what, body in REFUSED.items():
                response = await alice.post(body(busy if what == "a deletion" else thread, item))
                assert response.status_code == 403, (what, response.text)
                assert response.json() == {"error": {"code": "server_refused", "message": WORDS}}, what
            assert (await written(settings.database_url, settings.redis_url)).rows == before.rows
            door.is_closed_to = frozenset()
            door.held.set()
            assert (await held.finished()).end == "completed"


async def test_a_repeat_of_an_accepted_request_attaches_to_its_run_though_it_would_be_refused_now(
    settings: Settings,
) -> None:
    async with serving(settings) as system:
        alice = await system.caller("alice")
        headers = {"Idempotency-Key": "once"}
        first = await alice.stream(create("hello"), headers)
        door.is_closed_to = frozenset({"api", "worker"})
        assert (await alice.stream(create("hello"), headers)).run_id == first.run_id


@pytest.mark.parametrize("name", ["async_context", "sync_context"])
@pytest.mark.parametrize(("status", "may_retry"), [(403, False), (429, True), (503, True)])
async def test_a_context_that_refuses_in_the_worker_ends_the_run_in_the_sites_words(
    settings: Settings, name: str, status: int, may_retry: bool
) -> None:
    """Nothing but the message is stored, and the thread goes on afterwards."""
    door.is_closed_to, door.status = frozenset({"worker"}), status
    async with serving(settings, name) as system:
        alice = await system.caller("alice")
        answer = await alice.stream(create("hello"))
        error = {"type": "error", "code": "custom", "message": WORDS, "allow_retry": may_retry}
        assert (answer.events[-1], answer.end) == (error, "failed")
        assert await error_of(alice, answer.run_id) == ("failed", "server_refused")
        assert await stored(alice, answer.thread_id) == ["hello"]
        door.is_closed_to = frozenset()
        assert (await alice.stream(message(answer.thread_id, "again"))).end == "completed"


async def test_a_next_attempt_that_is_refused_takes_back_what_the_one_before_left(settings: Settings) -> None:
    """The first attempt's worker drains in mid-run; the second one's context refuses."""
    given = settings.model_copy(update={"chatkit_context": f"{HERE}:async_context", "drain_seconds": 0})
    async with running(given, lambda: ContextServer(store=None), workers=0) as system:
        alice = await system.caller("alice")
        async with asking(alice, create("hold")) as held:
            async with working(given):
                await held.until("it was answered", lambda answer: answer.text == "alice said hold")
            door.is_closed_to = frozenset({"worker"})
            async with working(given):
                answer = await held.finished()
        shown = answer.of_type("thread.item.added")[0]["item"]["id"]
        assert [event["item_id"] for event in answer.of_type("thread.item.removed")] == [shown]
        assert (answer.events[-1]["message"], answer.end) == (WORDS, "failed")
        assert await stored(alice, answer.thread_id) == ["hold"]


class OwnStoreServer(ContextServer):
    """With a store of the site's own, which wants the site's own context."""

    def __init__(self, path: str) -> None:
        super().__init__(store=SqliteStore(path))


async def test_whoever_waits_is_not_held_up_by_a_context_that_refuses(
    settings: Settings, tmp_path: Path
) -> None:
    """A message behind another one fails, and a stop is a stop, though a foreign store is asked with a context."""
    given = settings.model_copy(update={"chatkit_context": f"{HERE}:async_context", "chatkit_store": "own"})
    async with running(given, lambda: OwnStoreServer(str(tmp_path / "own.db"))) as system:
        alice = await system.caller("alice")
        async with asking(alice, create("hold")) as held:
            await held.until("it was answered", lambda answer: answer.text == "alice said hold")
            thread = held.answer.thread_id
            async with (
                asking(alice, message(thread, "behind")) as behind,
                asking(alice, message(thread, "stopped")) as stopped,
            ):
                await behind.until("it waits", lambda answer: answer.of_type("stream_options"))
                await stopped.until("it waits", lambda answer: answer.of_type("stream_options"))
                door.is_closed_to = frozenset({"api", "worker"})
                assert (await alice.cancel(stopped.run_id)).json()["status"] == "cancelled"
                assert (await stopped.finished()).end == "cancelled"
                door.held.set()
                assert (await behind.finished()).end == "failed"
            assert await error_of(alice, behind.run_id) == ("failed", "server_refused")
        door.is_closed_to = frozenset()
        assert "alice said hold" in await stored(alice, thread)


# --- bounded, and what else it raises


async def test_a_context_that_takes_too_long_is_given_up(settings: Settings) -> None:
    """503 with nothing written at admission; in the worker the run fails."""
    async with serving(settings, context_seconds=0.2) as system:
        alice = await system.caller("alice")
        before = await written(settings.database_url, settings.redis_url)
        door.hangs_in = frozenset({"api"})
        for body in (create("hello"), TRANSCRIBE):
            response = await alice.post(body)
            assert (response.status_code, response.json()["error"]["code"]) == (503, "context_timeout")
            assert response.headers["Retry-After"]
        assert await written(settings.database_url, settings.redis_url) == before
        door.hangs_in = frozenset({"worker"})
        answer = await alice.stream(create("hello"))
        assert answer.end == "failed"
        assert await error_of(alice, answer.run_id) == ("failed", "context_timeout")


async def test_what_else_a_context_raises_is_internal_and_its_text_is_not_told(settings: Settings) -> None:
    async with serving(settings) as system:
        alice = await system.caller("alice")
        door.fails_in = frozenset({"api"})
        response = await alice.post(create("hello"))
        assert (response.status_code, response.json()["error"]["code"]) == (500, "internal")
        assert "Geheim7391" not in response.text
        door.fails_in = frozenset({"worker"})
        answer = await alice.stream(create("hello"))
        assert b"Geheim7391" not in answer.raw
        assert await error_of(alice, answer.run_id) == ("failed", "internal")


# --- header fields


@dataclass
class NewsContext:
    """As upstream's news-guide has it: the HTTP request, whose header is read in the agent's tools."""

    request: RequestContext
    user_id: str


def news_context(request: RequestContext) -> NewsContext:
    return NewsContext(request, request.user_id)


class NewsServer(ProtocolServer):
    def get_stream_options(self, thread: ThreadMetadata, context: Any) -> StreamOptions:
        if context.request.attempt is None:
            admitted.append(context.request)
        return super().get_stream_options(thread, context)

    async def respond(
        self, thread: ThreadMetadata, input_user_message: UserMessageItem | None, context: Any
    ) -> Events:
        worked.append(context.request)
        article = context.request.headers.get("Article-Id")
        async for event in self.say(thread, f"About {article}", context):
            yield event

    async def transcribe(self, audio_input: AudioInput, context: Any) -> TranscriptionResult:
        return TranscriptionResult(text=str(context.request.headers.get("article-id")))


admitted: list[RequestContext] = []
worked: list[RequestContext] = []


@asynccontextmanager
async def news(settings: Settings, **changes: Any) -> AsyncIterator[System]:
    admitted.clear()
    worked.clear()
    given = Settings(
        **{
            **settings.model_dump(exclude_none=True),
            "chatkit_context": f"{HERE}:news_context",
            "context_headers": "Article-Id, x-plan",
            **changes,
        }
    )
    async with running(given, lambda: NewsServer(store=None)) as system:
        yield system


async def test_named_header_fields_reach_the_server_in_the_api_and_in_the_worker(settings: Settings) -> None:
    async with news(settings) as system:
        alice = await system.caller("alice")
        headers = {"ARTICLE-ID": "featured", "x-other": "geheim", "Cookie": "geheim"}
        answer = await alice.stream(create("hello"), headers)
        assert answer.text == "About featured"
        assert (await alice.post(TRANSCRIBE, headers)).json()["text"] == "featured"
        (at_admission,), (in_worker,) = admitted, worked
        assert dict(at_admission.headers) == dict(in_worker.headers) == {"article-id": "featured"}
        kept = await _stored_context(settings, answer.run_id)
        assert kept["headers"] == {"article-id": "featured"}
        assert "geheim" not in json.dumps(kept)


async def test_a_request_without_them_has_none(settings: Settings) -> None:
    async with news(settings) as system:
        alice = await system.caller("alice")
        answer = await alice.stream(create("hello"))
        assert answer.text == "About None"
        assert dict(admitted[0].headers) == dict(worked[0].headers) == {}
        assert "headers" not in await _stored_context(settings, answer.run_id)


async def test_header_fields_are_read_only_and_can_be_copied(settings: Settings) -> None:
    """A field that comes twice is one, with its values in order."""
    async with news(settings) as system:
        alice = await system.caller("alice")
        token = [("Authorization", f"Bearer {alice.token}"), ("X-Plan", "a"), ("x-plan", "b")]
        response = await alice.client.post("/chatkit", content=json.dumps(create("hi")), headers=token)
        assert response.status_code == 200
        for context in (admitted[0], worked[0]):
            assert context.headers["X-PLAN"] == "a, b"
            assert "a, b" not in repr(context)
            with pytest.raises(TypeError):
                context.headers["x-plan"] = "c"  # type: ignore[index]
            assert copy.deepcopy(context).headers == context.headers
            assert dataclasses.asdict(dataclasses.replace(context, forbid=None))["headers"] == context.headers


async def test_header_fields_of_more_bytes_than_allowed_are_refused_with_nothing_written(
    settings: Settings,
) -> None:
    async with news(settings, context_headers_max_bytes=100) as system:
        alice = await system.caller("alice")
        before = await written(settings.database_url, settings.redis_url)
        fits = 100 - len("article-id") - len("x-plan")
        for body in (create("hello"), {"type": "threads.list", "params": {}}):
            response = await alice.post(body, {"Article-Id": "a" * fits, "x-plan": "b"})
            assert response.status_code == 431
            assert response.json()["error"]["code"] == "context_headers_too_large"
        assert await written(settings.database_url, settings.redis_url) == before
        assert (
            await alice.stream(create("hello"), {"Article-Id": "a" * fits, "x-plan": ""})
        ).end == "completed"


async def test_a_page_of_another_origin_may_send_them(settings: Settings) -> None:
    async with news(settings, cors_origins="https://shop.example") as system:
        alice = await system.caller("alice")
        preflight = {
            "Origin": "https://shop.example",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "article-id,authorization,content-type",
        }
        response = await alice.client.options("/chatkit", headers=preflight)
        assert response.status_code == 200, response.text
        assert "article-id" in response.headers["access-control-allow-headers"].lower()
        other = {**preflight, "Access-Control-Request-Headers": "x-other"}
        assert (await alice.client.options("/chatkit", headers=other)).status_code == 400


async def _stored_context(settings: Settings, run_id: str) -> dict[str, Any]:
    database = await asyncpg.connect(settings.database_url)
    try:
        return json.loads(await database.fetchval("SELECT context FROM runs WHERE id = $1", run_id))
    finally:
        await database.close()
