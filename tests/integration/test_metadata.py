"""The context of a ChatKit server: the same in the API and in the worker; and the caller's token, kept safe."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import jwt
import pytest
import redis.asyncio
from chatkit.actions import Action
from chatkit.types import (
    AudioInput,
    StreamOptions,
    SyncCustomActionResponse,
    ThreadMetadata,
    TranscriptionResult,
    UserMessageItem,
    WidgetItem,
)

from relaykit.shared.identity import RequestContext
from relaykit.shared.settings import Settings
from relaykit.worker.main import RunWorker, create_worker
from tests.support.servers.protocol_servers import Events, ProtocolServer
from tests.support.system import Answer, Caller, System, create, message, running, wait_until

KEY = base64.urlsafe_b64encode(os.urandom(32)).decode()
OTHER_KEY = base64.urlsafe_b64encode(os.urandom(32)).decode()


@dataclass
class Heard:
    """The contexts that the servers of one system were given, by where."""

    admission: list[RequestContext] = field(default_factory=list)
    respond: list[RequestContext] = field(default_factory=list)
    action: list[RequestContext] = field(default_factory=list)
    request: list[RequestContext] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)


class ListeningServer(ProtocolServer):
    def __init__(self, heard: Heard) -> None:
        super().__init__(store=None)
        self.heard = heard

    def get_stream_options(self, thread: ThreadMetadata, context: RequestContext) -> StreamOptions:
        """The SDK asks in the worker too; only the API's question has no attempt."""
        if context.attempt is None:
            self.heard.admission.append(context)
        return super().get_stream_options(thread, context)

    async def respond(
        self, thread: ThreadMetadata, input_user_message: UserMessageItem | None, context: RequestContext
    ) -> Events:
        self.heard.respond.append(context)
        await self.heard.gate.wait()
        async for event in super().respond(thread, input_user_message, context):
            yield event

    async def action(
        self,
        thread: ThreadMetadata,
        action: Action[str, Any],
        sender: WidgetItem | None,
        context: RequestContext,
    ) -> Events:
        self.heard.action.append(context)
        async for event in super().action(thread, action, sender, context):
            yield event

    async def sync_action(
        self,
        thread: ThreadMetadata,
        action: Action[str, Any],
        sender: WidgetItem | None,
        context: RequestContext,
    ) -> SyncCustomActionResponse:
        self.heard.request.append(context)
        return await super().sync_action(thread, action, sender, context)

    async def transcribe(self, audio_input: AudioInput, context: RequestContext) -> TranscriptionResult:
        self.heard.request.append(context)
        return TranscriptionResult(text="")


@pytest.fixture
def heard() -> Heard:
    heard = Heard()
    heard.gate.set()
    return heard


@pytest.fixture
async def system(settings: Settings, heard: Heard) -> AsyncIterator[System]:
    async with running(settings, lambda: ListeningServer(heard)) as system:
        yield system


@pytest.fixture
async def alice(system: System) -> Caller:
    return await system.caller("alice", "acme")


@asynccontextmanager
async def forwarding(settings: Settings, heard: Heard, **changes: Any) -> AsyncIterator[System]:
    forwarding = {"forward_token": True, "forward_token_key": KEY, **changes}
    async with running(settings.model_copy(update=forwarding), lambda: ListeningServer(heard)) as system:
        yield system


@asynccontextmanager
async def working(settings: Settings, heard: Heard) -> AsyncIterator[RunWorker]:
    """A worker that the test may drain by itself."""
    worker = create_worker(settings, ListeningServer(heard))
    task = asyncio.create_task(worker.run())
    try:
        yield worker
    finally:
        worker.drain()
        await task


TRANSCRIBE = {"type": "input.transcribe", "params": {"audio_base64": "AAAA", "mime_type": "audio/webm"}}


def token_with(settings: Settings, **claims: Any) -> str:
    assert settings.local_issuer_key_file is not None
    given = {
        "iss": settings.jwt_issuer,
        "aud": settings.jwt_audience,
        "exp": int(time.time()) + 600,
        **claims,
    }
    return jwt.encode(given, settings.local_issuer_key_file.read_bytes(), algorithm="RS256")


# --- metadata


async def test_metadata_of_both_places_are_joined(alice: Caller, heard: Heard) -> None:
    """The SDK ignores the one and drops the other; where both have a key, that of the input wins."""
    body = create("hello", metadata={"b": 2, "both": "input", "deep": {"x": [1, None]}})
    await alice.stream({**body, "metadata": {"a": 1, "both": "top"}})
    expected = {"a": 1, "b": 2, "both": "input", "deep": {"x": [1, None]}}
    assert heard.admission[-1].metadata == expected
    assert heard.respond[-1].metadata == expected


@pytest.mark.parametrize(
    ("top", "inner"), [({"a": 1}, None), (None, {"b": 2}), ({}, {}), (None, None)], ids=str
)
async def test_metadata_of_one_place_or_none(alice: Caller, heard: Heard, top: Any, inner: Any) -> None:
    body = create("hello") if inner is None else create("hello", metadata=inner)
    await alice.stream(body if top is None else {**body, "metadata": top})
    assert heard.respond[-1].metadata == {**(top or {}), **(inner or {})}


async def test_metadata_belong_to_their_request(alice: Caller, heard: Heard) -> None:
    """Neither the next message nor one that waits behind another gets those of a message before it."""
    thread_id = (await alice.stream({**create("one"), "metadata": {"n": 1}})).thread_id
    await alice.stream(message(thread_id, "two"))
    heard.gate.clear()
    posts = []
    for number in (3, 4):
        body = {**message(thread_id, f"m{number}"), "metadata": {"n": number}}
        posts.append(asyncio.create_task(alice.stream(body)))
        await wait_until("the message is admitted", lambda count=number: len(heard.admission) == count)
    heard.gate.set()
    await asyncio.gather(*posts)
    assert [context.metadata for context in heard.respond] == [{"n": 1}, {}, {"n": 3}, {"n": 4}]


async def test_metadata_reach_every_kind_of_run(alice: Caller, heard: Heard) -> None:
    """Also those kinds that have no input: the top level serves them."""
    tool = await alice.stream(create("tool"))
    thread_id = tool.thread_id

    async def posted(kind: str, params: dict[str, Any]) -> Answer:
        metadata = {"of": kind}
        body = {"type": kind, "params": {"thread_id": thread_id, **params}, "metadata": metadata}
        return await alice.stream(body)

    await posted("threads.add_client_tool_output", {"result": 1})
    assert heard.respond[-1].metadata == {"of": "threads.add_client_tool_output"}
    item_id = (await alice.items(thread_id))[0]["id"]
    await posted("threads.retry_after_item", {"item_id": item_id})
    assert heard.respond[-1].metadata == {"of": "threads.retry_after_item"}
    await posted("threads.add_client_tool_output", {"result": 2})  # the answer anew asks the browser anew
    await posted("threads.custom_action", {"action": {"type": "a"}})
    assert heard.action[-1].metadata == {"of": "threads.custom_action"}
    await alice.stream(message(thread_id, "questions"))
    item_id = (await alice.items(thread_id))[-1]["id"]
    given = {"answers": {}, "metadata": {"inner": 1}}
    await posted("threads.add_structured_input", {"item_id": item_id, "input": given})
    assert heard.respond[-1].metadata == {"of": "threads.add_structured_input", "inner": 1}


async def test_metadata_reach_what_the_api_answers_itself(alice: Caller, heard: Heard) -> None:
    """The user's own methods of non-streaming requests, which run in the API."""
    await alice.ask({**TRANSCRIBE, "metadata": {"page": "/home"}})
    assert heard.request[-1].metadata == {"page": "/home"}
    thread_id = (await alice.stream(create("hello"))).thread_id
    params = {"thread_id": thread_id, "action": {"type": "a"}}
    await alice.ask({"type": "threads.sync_custom_action", "params": params, "metadata": {"page": "/cart"}})
    assert heard.request[-1].metadata == {"page": "/cart"}


# --- the rest of the context


async def test_the_context_is_the_same_in_the_api_and_in_the_worker(
    system: System, settings: Settings, heard: Heard
) -> None:
    """Field by field, but for the attempt, which only the worker knows."""
    claims = {"sub": "alice", "tenant": "acme", "roles": ["a", "b"], "plan": {"seats": 3, "since": None}}
    token = token_with(settings, **claims)
    caller = Caller((await system.caller()).client, token, {"Accept-Language": "de-AT,de;q=0.9,en;q=0.5"})
    answer = await caller.stream({**create("hello"), "metadata": {"a": 1}})
    at_admission, in_worker = heard.admission[-1], heard.respond[-1]
    assert dataclasses.replace(in_worker, attempt=None) == at_admission
    assert (in_worker.user_id, in_worker.tenant, in_worker.locale) == ("alice", "acme", "de-AT")
    assert in_worker.claims.items() >= claims.items()
    assert (in_worker.run_id, in_worker.attempt) == (answer.run_id, 1)
    assert in_worker.request_id
    assert in_worker.call_key("charge") == at_admission.call_key("charge")
    assert answer.run_id in in_worker.call_key("charge")


async def test_a_claim_that_is_not_kept_reaches_neither_the_server_nor_the_runs_row(
    settings: Settings, heard: Heard
) -> None:
    """The same on both sides, though the worker's own setting is another: it reads the row."""
    kept = settings.model_copy(update={"jwt_context_claims": ("roles",)})
    async with running(kept, lambda: ListeningServer(heard), workers=0) as system, working(settings, heard):
        token = token_with(settings, sub="alice", tenant="acme", roles=["a"], email="alice@x.test")
        caller = Caller((await system.caller()).client, token)
        answer = await caller.stream(create("hello"))
        await caller.ask(TRANSCRIBE)
    contexts = [*heard.admission, *heard.respond, *heard.request]
    assert [context.claims for context in contexts] == [{"roles": ["a"]}] * 3
    assert {(context.user_id, context.tenant) for context in contexts} == {("alice", "acme")}
    connection = await asyncpg.connect(settings.database_url)
    try:
        row = await connection.fetchval("SELECT context::text FROM runs WHERE id = $1", answer.run_id)
    finally:
        await connection.close()
    assert "alice@x.test" not in row


async def test_the_context_of_a_request_without_a_run(system: System, heard: Heard) -> None:
    """No run, no attempt, no tenant where the token has none; each request has an id of its own."""
    caller = await system.caller("bob")
    for _ in range(2):
        await caller.ask(TRANSCRIBE)
    first, second = heard.request
    assert (first.user_id, first.tenant, first.locale) == ("bob", None, None)
    assert (first.run_id, first.attempt, first.bearer_token) == (None, None, None)
    assert first.metadata == {}
    assert first.request_id != second.request_id


async def test_a_later_attempt_has_the_same_call_keys(settings: Settings, heard: Heard) -> None:
    """And everything else the same, but for its number: a tool can tell that it was called before."""
    heard.gate.clear()
    drained = settings.model_copy(update={"drain_seconds": 0})
    async with running(drained, lambda: ListeningServer(heard), workers=0) as system:
        alice = await system.caller("alice", "acme")
        async with working(drained, heard):
            posted = asyncio.create_task(alice.stream({**create("hello"), "metadata": {"a": 1}}))
            await wait_until("the run has begun", lambda: heard.respond)
        async with working(drained, heard):
            await wait_until("the run has begun again", lambda: len(heard.respond) == 2)
            heard.gate.set()
            assert (await posted).end == "completed"
    first, second = heard.respond
    assert (first.attempt, second.attempt) == (1, 2)
    assert first.call_key("charge") == second.call_key("charge")
    assert dataclasses.replace(second, attempt=1) == first


# --- the caller's own token


async def _tokens_in_rows(settings: Settings) -> list[bytes | None]:
    connection = await asyncpg.connect(settings.database_url)
    try:
        return [row["token"] for row in await connection.fetch("SELECT token FROM runs ORDER BY seq")]
    finally:
        await connection.close()


async def _has_tokens(settings: Settings, count: int) -> bool:
    """So many rows, each with its token."""
    tokens = await _tokens_in_rows(settings)
    return len(tokens) == count and None not in tokens


async def test_the_token_stays_in_the_api_by_default(
    system: System, alice: Caller, heard: Heard, settings: Settings
) -> None:
    """Without FORWARD_TOKEN no server sees it, and no row has it."""
    heard.gate.clear()
    posted = asyncio.create_task(alice.stream(create("hello")))
    await wait_until("the run has begun", lambda: heard.respond)
    assert await _tokens_in_rows(settings) == [None]
    heard.gate.set()
    await posted
    await alice.ask(TRANSCRIBE)
    for contexts in (heard.admission, heard.respond, heard.request):
        assert contexts[-1].bearer_token is None


async def test_the_token_travels_encrypted_and_ends_with_the_run(settings: Settings, heard: Heard) -> None:
    """The server has it on both sides; the row has it sealed while the run lasts; Redis never sees it."""
    heard.gate.clear()
    async with forwarding(settings, heard) as system, _monitored(settings) as commands:
        alice = await system.caller("alice", "acme")
        posted = asyncio.create_task(alice.stream(create("hello")))
        await wait_until("the run has begun", lambda: heard.respond)
        (sealed,) = await _tokens_in_rows(settings)
        assert sealed is not None
        assert _no_part_of(alice.token, sealed)
        assert alice.token not in await _everything_in_the_rows(settings)
        heard.gate.set()
        assert (await posted).end == "completed"
        assert await _tokens_in_rows(settings) == [None]
        await alice.ask(TRANSCRIBE)
        for contexts in (heard.admission, heard.respond, heard.request):
            assert contexts[-1].bearer_token == alice.token
            assert alice.token not in repr(contexts[-1])
        run_id = posted.result().run_id
        await wait_until("the run's commands are seen", lambda: any(run_id in line for line in commands))
        assert all(_no_part_of(alice.token, line.encode()) for line in commands)


def _no_part_of(token: str, data: bytes) -> bool:
    return not any(part.encode()[:40] in data for part in token.split(".")[1:])


async def _everything_in_the_rows(settings: Settings) -> str:
    connection = await asyncpg.connect(settings.database_url)
    try:
        texts = []
        for table in ("runs", "threads", "items"):
            texts += [row[0] for row in await connection.fetch(f"SELECT t::text FROM {table} t")]
        return "\n".join(texts)
    finally:
        await connection.close()


@asynccontextmanager
async def _monitored(settings: Settings) -> AsyncIterator[list[str]]:
    """Every command that Redis gets, with its arguments."""
    commands: list[str] = []
    async with redis.asyncio.Redis.from_url(settings.redis_url) as client, client.monitor() as monitor:

        async def listen() -> None:
            async for command in monitor.listen():
                commands.append(command["command"])

        listening = asyncio.create_task(listen())
        try:
            yield commands
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)


async def test_the_token_ends_with_a_run_that_fails(settings: Settings, heard: Heard) -> None:
    """However a run ends, its row has no token afterwards."""

    class Failing(ListeningServer):
        async def respond(self, thread: Any, input_user_message: Any, context: Any) -> Events:
            raise ValueError("no")
            yield

    changes = {"forward_token": True, "forward_token_key": KEY}
    async with running(settings.model_copy(update=changes), lambda: Failing(heard)) as system:
        answer = await (await system.caller()).stream(create("hello"))
        assert answer.end == "failed"
        assert await _tokens_in_rows(settings) == [None]


async def test_the_token_ends_with_a_run_that_is_stopped(settings: Settings, heard: Heard) -> None:
    """Running, queued or waiting."""
    heard.gate.clear()
    async with forwarding(settings, heard, max_runs=1) as system:
        alice = await system.caller()
        first = asyncio.create_task(alice.stream(create("hello")))
        await wait_until("the run has begun", lambda: heard.respond)
        run = (await alice.get(f"/runs/{heard.respond[0].run_id}")).json()
        waiting = asyncio.create_task(alice.stream(message(run["thread_id"], "second")))
        queued = asyncio.create_task(alice.stream(create("third")))
        await wait_until("all are admitted", lambda: _has_tokens(settings, 3))
        for context in reversed(heard.admission):
            assert (await alice.cancel(str(context.run_id))).status_code == 202
        assert {(await posted).end for posted in (first, waiting, queued)} == {"cancelled"}
        assert await _tokens_in_rows(settings) == [None] * 3


async def test_a_token_that_cannot_be_opened(settings: Settings, heard: Heard) -> None:
    """FORWARD_TOKEN_KEY was changed while the run was queued: the run fails, and says so."""
    changes = {"forward_token": True, "forward_token_key": KEY}
    admitting = settings.model_copy(update=changes)
    async with running(admitting, lambda: ListeningServer(heard), workers=0) as system:
        alice = await system.caller()
        posted = asyncio.create_task(alice.stream(create("hello")))
        await wait_until("the message is admitted", lambda: heard.admission)
        async with working(admitting.model_copy(update={"forward_token_key": OTHER_KEY}), heard):
            answer = await posted
        assert answer.end == "failed"
        assert answer.events[-1] == {"type": "error", "code": "stream.error", "allow_retry": True}
        assert (await alice.get(f"/runs/{answer.run_id}")).json()["error"] == "internal"
    assert not heard.respond
    assert await _tokens_in_rows(settings) == [None]


async def test_an_older_key_still_opens(settings: Settings, heard: Heard) -> None:
    """The new key stands first, the old one behind it, as long as runs of it are under way."""
    changes = {"forward_token": True, "forward_token_key": KEY}
    admitting = settings.model_copy(update=changes)
    async with running(admitting, lambda: ListeningServer(heard), workers=0) as system:
        alice = await system.caller()
        posted = asyncio.create_task(alice.stream(create("hello")))
        await wait_until("the message is admitted", lambda: heard.admission)
        both = admitting.model_copy(update={"forward_token_key": f"{OTHER_KEY},{KEY}"})
        async with working(both, heard):
            assert (await posted).end == "completed"
        assert heard.respond[-1].bearer_token == alice.token
