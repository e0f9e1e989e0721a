"""Each documented error of admission: its status, its code, nothing of the input in the answer, nothing written."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import jwt
import pytest
import pytest_asyncio

from relaykit.shared.identity import RequestContext
from relaykit.shared.postgres.database import Database
from relaykit.shared.settings import Settings
from relaykit.shared.threads.calls import StoreCalls
from relaykit.shared.threads.store import PostgresStore
from tests.integration.written import Written, written
from tests.support.sample_thread import Place, add_place, add_thread, add_tool_call
from tests.support.servers.protocol_servers import BareServer, ProtocolServer
from tests.support.services.databases import Databases, RedisDatabases
from tests.support.system import (
    Answer,
    Caller,
    create,
    free_port,
    make_settings,
    message,
    running,
    user_input,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

MARK = "Geheim7391"
"""Stands in whatever is wrong with a request; no answer may repeat it."""
MAX_BODY_BYTES = 64 * 1024
MESSAGE_MAX_PARTS = 100
MESSAGE_MAX_BYTES = 16 * 1024
METADATA_MAX_BYTES = 8 * 1024
TITLE_MAX_CHARS = 1000

ALICE = RequestContext(user_id="alice", tenant="acme")
OTHERS = {
    "another user of the tenant": RequestContext(user_id="bob", tenant="acme"),
    "a user of that name in another tenant": RequestContext(user_id="alice", tenant="globex"),
    "a user of that name without a tenant": RequestContext(user_id="alice"),
}


@dataclass(frozen=True)
class World:
    """Alice's and other people's places, and an API that has no worker."""

    settings: Settings
    alice: Caller
    bare: Caller
    """Alice, at an API whose server overrides nothing and which has no attachments."""
    own: Place
    theirs: dict[str, Place]
    completed: str
    """A thread that ends with a completed tool call."""
    empty: str
    """A thread without items."""
    busy: str
    """A thread with a run that is queued."""
    busy_item: str
    busy_run: str
    unsent: str
    """An attachment whose bytes have not come."""

    async def written(self) -> Written:
        return await written(self.settings.database_url, self.settings.redis_url)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(
    databases: Databases, redis_databases: RedisDatabases, issuer_key_file: Path, tmp_path_factory: Any
) -> AsyncIterator[World]:
    with databases.fresh() as database_url, redis_databases.fresh() as redis_url:
        bare_settings = make_settings(
            redis_url,
            database_url,
            issuer_key_file,
            free_port(),
            max_body_bytes=MAX_BODY_BYTES,
            message_max_parts=MESSAGE_MAX_PARTS,
            message_max_bytes=MESSAGE_MAX_BYTES,
            metadata_max_bytes=METADATA_MAX_BYTES,
            title_max_chars=TITLE_MAX_CHARS,
            thread_policy="reject",
            database_pool_min=1,
        )
        settings = bare_settings.model_copy(
            update={
                "port": free_port(),
                "attachments_url": f"file://{tmp_path_factory.mktemp('attachments')}",
                "attachments_key": "k" * 43,
            }
        )
        async with (
            running(settings, lambda: ProtocolServer(store=None), workers=0) as system,
            running(bare_settings, lambda: BareServer(store=None), workers=0) as bare_system,
        ):
            alice = await system.caller("alice", "acme")
            bare = await bare_system.caller("alice", "acme")
            yield World(settings=settings, alice=alice, bare=bare, **await _furnished(settings, alice))


async def _furnished(settings: Settings, alice: Caller) -> dict[str, Any]:
    async with Database(settings) as database:
        store = PostgresStore(StoreCalls(database))
        own = await add_place(store, ALICE)
        theirs = {name: await add_place(store, context) for name, context in OTHERS.items()}
        completed = await add_tool_call(store, ALICE, status="completed", output=1)
        empty = await add_thread(store, ALICE)
        busy = await add_thread(store, ALICE)
    async with alice.open_stream(message(busy, "first")) as response:
        busy_run = response.headers["x-run-id"]
    busy_item = (await alice.items(busy))[0]["id"]
    file = {"name": "a.txt", "size": 3, "mime_type": "text/plain"}
    unsent = (await alice.ask({"type": "attachments.create", "params": file}))["id"]
    return {
        "own": own,
        "theirs": theirs,
        "completed": completed,
        "empty": empty,
        "busy": busy,
        "busy_run": busy_run,
        "busy_item": busy_item,
        "unsent": unsent,
    }


def request(of_type: str, /, **params: Any) -> dict[str, Any]:
    return {"type": of_type, "params": params}


def with_input(**changes: Any) -> dict[str, Any]:
    return request("threads.create", input={**user_input("hi"), **changes})


def answers(thread: str, item: str) -> dict[str, Any]:
    given = {"answers": {"q": {"values": ["x"]}}}
    return request("threads.add_structured_input", thread_id=thread, item_id=item, input=given)


def action(kind: str, thread: str, item: str | None) -> dict[str, Any]:
    return request(kind, thread_id=thread, item_id=item, action={"type": "count", "payload": {"by": 1}})


async def refused(
    world: World,
    response_of: Any,
    status: int,
    code: str,
) -> httpx2.Response:
    """The answer, which must be this error, in its one shape, and must have written nothing."""
    before = await world.written()
    response = await response_of
    assert (response.status_code, response.json()["error"]["code"]) == (status, code), response.text
    assert response.headers["content-type"] == "application/json"
    assert set(response.json()) == {"error"}
    assert response.json()["error"]["message"]
    assert MARK not in response.text
    assert await world.written() == before
    return response


# --- bodies

BODIES = {
    "nothing": b"",
    "no JSON": f"{MARK} is not JSON".encode(),
    "half": b'{"type": "threads.list", "params": {',
    "more after it": b'{"type": "threads.list", "params": {}} x',
    "not UTF-8": b'{"type": "\xff\xfe"}',
    "UTF-16": json.dumps(request("threads.list")).encode("utf-16"),
    "a text": f'"{MARK}"'.encode(),
    "a list": b"[]",
    "null": b"null",
    "a number": b"1",
    "NaN": b'{"type": "threads.list", "params": {"limit": NaN}}',
    "Infinity": b'{"type": "threads.list", "params": {"limit": Infinity}}',
    **{
        f"infinity as {number}": f'{{"type": "threads.list", "params": {{}}, "metadata": {at}}}'.encode()
        for number in ("1e999", "-1e999", "1E+400", "9" * 400 + ".0", f"{'9' * 300}e10")
        for at in (f'{{"n": {number}}}', f'{{"n": [[{{"m": [0, {number}]}}]]}}')
    },
    "infinity where a member stands that the SDK ignores": b'{"type": "threads.list", "params": {"x": 1e999}}',
    "a lone surrogate, and no JSON": b'{"type": "threads.update", "params": {"title": "\\ud800"}',
    "a lone surrogate, and NaN": b'{"type": "threads.list", "metadata": {"\\ud800": NaN}}',
    "a surrogate as bytes": b'{"type": "threads.list", "metadata": {"a": "\xed\xa0\xbd"}}',
    "a bare control character": b'{"type": "threads.list", "metadata": {"\x00": 1}}',
    "a number of 50,000 digits": b'{"type": "threads.list", "metadata": {"n": ' + b"9" * 50_000 + b"}}",
    "30,000 brackets": b'{"type": "threads.list", "metadata": {"n": ' + b"[" * 30_000 + b"]" * 30_000 + b"}}",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
async def test_a_body_that_is_no_json_object(world: World, body: bytes) -> None:
    await refused(world, world.alice.post(body), 400, "invalid_json")


TYPES: dict[str, Any] = {
    "unknown": {"type": f"threads.{MARK}", "params": {}},
    "absent": {"params": {}},
    "null": {"type": None, "params": {}},
    "a number": {"type": 1, "params": {}},
    "a list": {"type": ["threads.list"], "params": {}},
    "other letters": {"type": "Threads.List", "params": {}},
}


@pytest.mark.parametrize("body", TYPES.values(), ids=TYPES)
async def test_an_unknown_type(world: World, body: Any) -> None:
    await refused(world, world.alice.post(body), 400, "unknown_request_type")


@pytest.mark.parametrize("chunked", [False, True], ids=["declared", "streamed"])
async def test_a_body_that_is_too_large(world: World, chunked: bool) -> None:
    """Found by its Content-Length, or where there is none, once too much has come."""
    body = json.dumps(create("x" * MAX_BODY_BYTES)).encode()

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 8192):
            yield body[start : start + 8192]

    headers = {"Authorization": f"Bearer {world.alice.token}"}
    content = chunks() if chunked else body
    posted = world.alice.client.post("/chatkit", content=content, headers=headers)
    response = await refused(world, posted, 413, "body_too_large")
    assert ("content-length" in response.request.headers) is not chunked


async def test_a_body_just_small_enough_is_read(world: World) -> None:
    """The limit is the limit: one byte less is a request like any other."""
    body = json.dumps(request("threads.list")).encode()
    body += b" " * (MAX_BODY_BYTES - len(body))
    assert (await world.alice.post(body)).status_code == 200
    await refused(world, world.alice.post(body + b" "), 413, "body_too_large")


# --- fields

FIELDS: dict[str, tuple[dict[str, Any], str]] = {
    "no params": ({"type": "threads.list"}, "params"),
    "params are null": ({"type": "threads.list", "params": None}, "params"),
    "params are a list": ({"type": "threads.list", "params": [MARK]}, "params"),
    "params are a text": ({"type": "threads.get_by_id", "params": MARK}, "params"),
    "metadata are a text": ({**create("x"), "metadata": MARK}, "metadata"),
    "metadata are a list": ({**create("x"), "metadata": [MARK]}, "metadata"),
    "metadata of the input are a text": (with_input(metadata=MARK), "params.input.metadata"),
    "no thread": (request("threads.get_by_id"), "params.thread_id"),
    "the thread is a number": (request("threads.get_by_id", thread_id=7391), "params.thread_id"),
    "the thread is null": (request("threads.delete", thread_id=None), "params.thread_id"),
    "no input": (request("threads.create"), "params.input"),
    "the input is a text": (request("threads.create", input=MARK), "params.input"),
    "no content": (
        request("threads.create", input={"attachments": [], "inference_options": {}}),
        "params.input.content",
    ),
    "the content is a text": (with_input(content=MARK), "params.input.content"),
    "a content without a type": (with_input(content=[{"text": MARK}]), "params.input.content.0"),
    "a content of an unknown type": (
        with_input(content=[{"type": MARK, "text": MARK}]),
        "params.input.content.0",
    ),
    "a text that is a number": (
        with_input(content=[{"type": "input_text", "text": 7391}]),
        "params.input.content.0.input_text.text",
    ),
    "a tag without its data": (
        with_input(content=[{"type": "input_tag", "id": "t", "text": MARK}]),
        "params.input.content.0.input_tag.data",
    ),
    "attachments are a text": (with_input(attachments=MARK), "params.input.attachments"),
    "an attachment is an object": (with_input(attachments=[{"id": MARK}]), "params.input.attachments.0"),
    "the quoted text is a list": (with_input(quoted_text=[MARK]), "params.input.quoted_text"),
    "inference options are a text": (with_input(inference_options=MARK), "params.input.inference_options"),
    "no title": (request("threads.update", thread_id="t"), "params.title"),
    "the title is an object": (
        request("threads.update", thread_id="t", title={"x": MARK}),
        "params.title",
    ),
    "no result": (request("threads.add_client_tool_output", thread_id="t"), "params.result"),
    "answers are a list": (
        request("threads.add_structured_input", thread_id="t", item_id="i", input={"answers": [MARK]}),
        "params.input.answers",
    ),
    "an unknown status of answers": (
        request("threads.add_structured_input", thread_id="t", item_id="i", input={"status": MARK}),
        "params.input.status",
    ),
    "no item": (request("threads.retry_after_item", thread_id="t"), "params.item_id"),
    "no action": (request("threads.custom_action", thread_id="t"), "params.action"),
    "the type of an action is a number": (
        request("threads.custom_action", thread_id="t", action={"type": 7391}),
        "params.action.type",
    ),
    **{
        f"the action of {kind} has no type": (
            request(kind, thread_id="t", action={"payload": MARK}),
            "params.action.type",
        )
        for kind in ("threads.custom_action", "threads.sync_custom_action")
    },
    "an unknown kind of feedback": (
        request("items.feedback", thread_id="t", item_ids=["i"], kind=MARK),
        "params.kind",
    ),
    "more ids than one request may name": (
        request("items.feedback", thread_id="t", item_ids=["i"] * 101, kind="positive"),
        "params.item_ids",
    ),
    "more answers than a structured input has": (
        request(
            "threads.add_structured_input",
            thread_id="t",
            item_id="i",
            input={"answers": {str(number): 1 for number in range(101)}},
        ),
        "params.input.answers",
    ),
    "more values than an answer has": (
        request(
            "threads.add_structured_input",
            thread_id="t",
            item_id="i",
            input={"answers": {"q": {"values": [1] * 101}}},
        ),
        "params.input.answers.values",
    ),
    "ids are a text": (
        request("items.feedback", thread_id="t", item_ids=MARK, kind="positive"),
        "params.item_ids",
    ),
    "the size is a text": (
        request("attachments.create", name=MARK, size=MARK, mime_type="text/plain"),
        "params.size",
    ),
    "audio that is no base64": (
        request("input.transcribe", audio_base64=f"{MARK}!", mime_type="audio/webm"),
        "params.audio_base64",
    ),
    "audio with an umlaut": (
        request("input.transcribe", audio_base64="ü", mime_type="audio/webm"),
        "params.audio_base64",
    ),
    "an unknown order": (request("threads.list", order=MARK), "params.order"),
    **{
        f"a limit of {limit!r}": (request("threads.list", limit=limit), "params.limit")
        for limit in (-1, 101, 10**30, -(10**30), 1.5, MARK, "-5", "100000", [1])
    },
    **{
        f"a limit of {limit!r} for items": (request("items.list", thread_id="t", limit=limit), "params.limit")
        for limit in (-1, 1_000_000)
    },
    "no id at all": (request("threads.get_by_id", thread_id=""), "params.thread_id"),
    "an endless id": (request("threads.get_by_id", thread_id="t" * 10_000), "params.thread_id"),
    "U+0000 in the thread's id": (request("threads.get_by_id", thread_id="t\0"), "params.thread_id"),
    "U+0000 in the thread's id of a message": (message("t\0", "x"), "params.thread_id"),
    "U+0000 in the item's id": (
        request("threads.retry_after_item", thread_id="t", item_id="\0"),
        "params.item_id",
    ),
    "U+0000 in a cursor": (request("items.list", thread_id="t", after="\0"), "params.after"),
    "U+0000 in a list of ids": (
        request("items.feedback", thread_id="t", item_ids=["i", "\0"], kind="positive"),
        "params.item_ids",
    ),
    "U+0000 in an attachment's id": (with_input(attachments=["a\0"]), "params.attachments"),
    "U+0000 in the id of an attachment to delete": (
        request("attachments.delete", attachment_id="\0"),
        "params.attachment_id",
    ),
}


@pytest.mark.parametrize(("body", "location"), FIELDS.values(), ids=FIELDS)
async def test_a_field_that_is_missing_or_wrong(world: World, body: dict[str, Any], location: str) -> None:
    """`locations` names the field, and never says what stood there."""
    response = await refused(world, world.alice.post(body), 422, "invalid_request")
    locations = response.json()["error"]["locations"]
    assert [found.partition(":")[0] for found in locations] == [location]
    assert "7391" not in response.text


async def test_many_wrong_fields_at_once(world: World) -> None:
    """All are named, up to a bound: the answer does not grow with what is wrong."""
    content = [{"type": "input_text", "text": MARK, "x": {}} | {"text": index} for index in range(100)]
    response = await refused(world, world.alice.post(with_input(content=content)), 422, "invalid_request")
    assert 1 < len(response.json()["error"]["locations"]) <= 20
    assert len(response.content) < 10_000


# --- how large may be what is written

LONG = "x" * MESSAGE_MAX_BYTES
HALF = "x" * (METADATA_MAX_BYTES // 2)
TAG = {"type": "input_tag", "id": "t", "text": "t", "data": {}}
TOO_LARGE: dict[str, tuple[dict[str, Any], str]] = {
    **{
        f"{kind}: {what}": (request(kind, thread_id="thr_0", input={**user_input("hi"), **given}), code)
        for kind in ("threads.create", "threads.add_user_message")
        for what, given, code in (
            ("one part more", {"content": [{"type": "input_text", "text": MARK}] * 101}, "message_too_large"),
            ("parts that are none", {"content": [1] * 9000}, "message_too_large"),
            ("a long text", {"content": [{"type": "input_text", "text": LONG}]}, "message_too_large"),
            ("a long text of a tag", {"content": [{**TAG, "text": LONG}]}, "message_too_large"),
            ("long data of a tag", {"content": [{**TAG, "data": {"a": [LONG]}}]}, "message_too_large"),
            ("a long name in a tag's data", {"content": [{**TAG, "data": {LONG: 1}}]}, "message_too_large"),
            ("a long group of a tag", {"content": [{**TAG, "group": LONG}]}, "message_too_large"),
            ("a long quote", {"quoted_text": LONG}, "message_too_large"),
            ("a long model", {"inference_options": {"model": LONG}}, "message_too_large"),
            ("a long tool", {"inference_options": {"tool_choice": {"id": LONG}}}, "message_too_large"),
            ("long metadata of the input", {"metadata": {"a": LONG}}, "metadata_too_large"),
            ("a long name in it", {"metadata": {LONG: 1}}, "metadata_too_large"),
        )
    },
    **{
        f"long metadata of {kind}": (
            {**request(kind, **params), "metadata": {"a": LONG}},
            "metadata_too_large",
        )
        for kind, params in (("threads.list", {}), ("threads.get_by_id", {"thread_id": "thr_0"}))
    },
    "the two metadata together": (
        {**with_input(metadata={"a": HALF}), "metadata": {"b": HALF}},
        "metadata_too_large",
    ),
    "a long result": (
        request("threads.add_client_tool_output", thread_id="thr_0", result={"a": LONG}),
        "message_too_large",
    ),
    "a long answer": (
        request(
            "threads.add_structured_input",
            thread_id="thr_0",
            item_id="i_0",
            input={"answers": {"q": {"values": [LONG]}}},
        ),
        "message_too_large",
    ),
    **{
        f"a long {what} of {kind}": (
            request(kind, thread_id="thr_0", item_id="i_0", action={"type": "count", **given}),
            "message_too_large",
        )
        for kind in ("threads.custom_action", "threads.sync_custom_action")
        for what, given in (("payload", {"payload": {"a": LONG}}), ("type", {"type": LONG}))
    },
    "a long title": (request("threads.update", thread_id="thr_0", title="x" * 1001), "title_too_long"),
}


@pytest.mark.parametrize(("body", "code"), TOO_LARGE.values(), ids=TOO_LARGE)
async def test_what_is_too_large_to_be_written(world: World, body: dict[str, Any], code: str) -> None:
    await refused(world, world.alice.post(body), 422, code)


async def test_what_is_just_small_enough_is_written(world: World) -> None:
    """The limits are the limits: a title, metadata and a message of that size are taken."""
    own = world.own.thread
    await world.alice.ask(request("threads.update", thread_id=own, title="\u00fc" * TITLE_MAX_CHARS))
    metadata = {"a": "x" * (METADATA_MAX_BYTES - len('{"a":""}'))}
    await world.alice.ask({**request("threads.list"), "metadata": metadata})
    parts = [{"type": "input_text", "text": "x"}] * MESSAGE_MAX_PARTS
    empty = {"content": parts, "attachments": [], "quoted_text": "", "inference_options": {}}
    stored = {**empty, "inference_options": {"tool_choice": None, "model": None}}
    spare = MESSAGE_MAX_BYTES - len(json.dumps(stored, separators=(",", ":")))
    largest = {**empty, "quoted_text": "x" * spare}
    await refused(
        world,
        world.alice.post(request("threads.create", input={**largest, "quoted_text": "x" * (spare + 1)})),
        422,
        "message_too_large",
    )
    async with world.alice.open_stream(request("threads.create", input=largest)) as response:
        assert response.status_code == 200


EMPTY: dict[str, Any] = {
    "no content": [],
    "no text": [{"type": "input_text", "text": ""}],
    "white space": [{"type": "input_text", "text": " \n\t\u00a0\u2003\u3000"}],
    "several of them": [{"type": "input_text", "text": " "}, {"type": "input_text", "text": ""}],
}


@pytest.mark.parametrize("content", EMPTY.values(), ids=EMPTY)
@pytest.mark.parametrize("kind", ["threads.create", "threads.add_user_message"])
async def test_a_message_with_nothing_in_it(world: World, kind: str, content: Any) -> None:
    given = {**user_input(""), "content": content}
    await refused(
        world,
        world.alice.post(request(kind, thread_id=world.own.thread, input=given)),
        422,
        "empty_message",
    )


# --- what is absent, and what is someone else's

NOTHING = Place(
    thread="thr_0", user="i_0", assistant="i_0", widget="i_0", pending="i_0", answered="i_0", attachment="a_0"
)

FOREIGN_THREAD: dict[str, Callable[[Place], dict[str, Any]]] = {
    "threads.get_by_id": lambda it: request("threads.get_by_id", thread_id=it.thread),
    "threads.list after": lambda it: request("threads.list", after=it.thread),
    "threads.update": lambda it: request("threads.update", thread_id=it.thread, title=MARK),
    "threads.delete": lambda it: request("threads.delete", thread_id=it.thread),
    "threads.add_user_message": lambda it: message(it.thread, MARK),
    "threads.add_client_tool_output": lambda it: request(
        "threads.add_client_tool_output", thread_id=it.thread, result=MARK
    ),
    "threads.add_structured_input": lambda it: answers(it.thread, it.pending),
    "threads.retry_after_item": lambda it: request(
        "threads.retry_after_item", thread_id=it.thread, item_id=it.user
    ),
    "threads.custom_action": lambda it: action("threads.custom_action", it.thread, it.widget),
    "items.list": lambda it: request("items.list", thread_id=it.thread),
    "items.feedback": lambda it: request(
        "items.feedback", thread_id=it.thread, item_ids=[it.assistant], kind="positive"
    ),
}
FOREIGN_ITEM: dict[str, Callable[[str, Place], dict[str, Any]]] = {
    "threads.sync_custom_action, thread": lambda own, it: action(
        "threads.sync_custom_action", it.thread, it.widget
    ),
    "threads.sync_custom_action": lambda own, it: action("threads.sync_custom_action", own, it.widget),
    "threads.custom_action": lambda own, it: action("threads.custom_action", own, it.widget),
    "threads.add_structured_input": lambda own, it: answers(own, it.pending),
    "threads.retry_after_item": lambda own, it: request(
        "threads.retry_after_item", thread_id=own, item_id=it.user
    ),
    "items.list after": lambda own, it: request("items.list", thread_id=own, after=it.user),
}
FOREIGN_ATTACHMENT: dict[str, Callable[[str, Place], dict[str, Any]]] = {
    "attachments.delete": lambda own, it: request("attachments.delete", attachment_id=it.attachment),
    "threads.create": lambda own, it: create(MARK, attachments=[it.attachment]),
    "threads.add_user_message": lambda own, it: message(own, MARK, attachments=[it.attachment]),
}


async def _absent_and_foreign_alike(
    world: World, build: Callable[[Place], dict[str, Any]], code: str
) -> None:
    absent = await refused(world, world.alice.post(build(NOTHING)), 404, code)
    for place in world.theirs.values():
        foreign = await refused(world, world.alice.post(build(place)), 404, code)
        assert foreign.content == absent.content
        assert set(foreign.headers) == set(absent.headers)


@pytest.mark.parametrize("name", FOREIGN_THREAD)
async def test_a_thread_that_is_absent_or_someone_elses(world: World, name: str) -> None:
    """The same answer, to the byte, for an id that does not exist and for three kinds of other people."""
    await _absent_and_foreign_alike(world, FOREIGN_THREAD[name], "thread_not_found")


@pytest.mark.parametrize("name", FOREIGN_ITEM)
async def test_an_item_that_is_absent_or_in_another_thread(world: World, name: str) -> None:
    await _absent_and_foreign_alike(
        world, lambda it: FOREIGN_ITEM[name](world.own.thread, it), "item_not_found"
    )


@pytest.mark.parametrize("name", FOREIGN_ATTACHMENT)
async def test_an_attachment_that_is_absent_or_someone_elses(world: World, name: str) -> None:
    await _absent_and_foreign_alike(
        world, lambda it: FOREIGN_ATTACHMENT[name](world.own.thread, it), "attachment_not_found"
    )


async def test_one_bad_attachment_among_good_ones(world: World) -> None:
    """The good one is not taken into the thread either."""
    ids = [world.own.attachment, "atc_none"]
    post = world.alice.post(message(world.own.thread, "x", attachments=ids))
    await refused(world, post, 404, "attachment_not_found")


@pytest.mark.parametrize("kind", ["threads.create", "threads.add_user_message"])
async def test_an_attachment_whose_bytes_have_not_come(world: World, kind: str) -> None:
    given = user_input("x", attachments=[world.unsent])
    post = world.alice.post(request(kind, thread_id=world.own.thread, input=given))
    await refused(world, post, 409, "attachment_not_uploaded")


async def test_a_run_that_is_absent_or_someone_elses(world: World) -> None:
    """It can be neither seen nor stopped."""
    foreign = Caller(world.alice.client, _token(world.settings, sub="bob", tenant="acme"))
    for path in (f"/runs/{world.busy_run}", f"/runs/{world.busy_run}/events"):
        await refused(world, foreign.get(path), 404, "run_not_found")
    await refused(world, foreign.cancel(world.busy_run), 404, "run_not_found")
    for unknown in ("run_0", "%00", "x" * 3000):
        await refused(world, world.alice.cancel(unknown), 404, "run_not_found")


# --- items of another kind or state


async def test_a_tool_output_that_nobody_waits_for(world: World) -> None:
    """The last item is an answer, a completed call, or there is none."""
    for thread in (world.own.thread, world.completed, world.empty):
        post = world.alice.post(request("threads.add_client_tool_output", thread_id=thread, result=MARK))
        await refused(world, post, 409, "item_mismatch")


async def test_answers_to_what_is_not_asked(world: World) -> None:
    """The item was answered before, or asks nothing."""
    for item in (world.own.answered, world.own.user):
        await refused(world, world.alice.post(answers(world.own.thread, item)), 409, "item_mismatch")


async def test_a_retry_of_what_the_user_did_not_say(world: World) -> None:
    """And nothing that came after it is deleted."""
    for item in (world.own.widget, world.own.assistant):
        post = world.alice.post(request("threads.retry_after_item", thread_id=world.own.thread, item_id=item))
        await refused(world, post, 409, "item_mismatch")


@pytest.mark.parametrize("kind", ["threads.custom_action", "threads.sync_custom_action"])
async def test_an_action_whose_sender_is_no_widget(world: World, kind: str) -> None:
    post = world.alice.post(action(kind, world.own.thread, world.own.assistant))
    await refused(world, post, 409, "item_mismatch")


# --- a thread that is busy


async def test_a_thread_that_is_busy(world: World) -> None:
    """Under THREAD_POLICY=reject; the answer names the run that is active."""
    requests = [
        message(world.busy, MARK),
        action("threads.custom_action", world.busy, None),
        message(world.busy, MARK, attachments=[world.own.attachment]),
    ]
    for body in requests:
        response = await refused(world, world.alice.post(body), 409, "thread_busy")
        assert response.json()["error"]["run_id"] == world.busy_run


# --- callers


def _token(settings: Settings, **claims: Any) -> str:
    assert settings.local_issuer_key_file is not None
    now = int(time.time())
    given = {
        "iss": settings.jwt_issuer,
        "aud": settings.jwt_audience,
        "sub": "alice",
        "tenant": "acme",
        "exp": now + 600,
        **claims,
    }
    return jwt.encode(given, settings.local_issuer_key_file.read_bytes(), algorithm="RS256")


TOKENS: dict[str, Callable[[World], str | None]] = {
    "none": lambda world: None,
    "not of the Bearer kind": lambda world: f"Basic {world.alice.token}",
    "nothing after Bearer": lambda world: "Bearer",
    "no JWT": lambda world: f"Bearer {MARK}",
    "another signature": lambda world: f"Bearer {world.alice.token[:-8]}AAAAAAAA",
    "no signature": lambda world: f"Bearer {world.alice.token.rpartition('.')[0]}.",
    "expired": lambda world: f"Bearer {_token(world.settings, exp=int(time.time()) - 60)}",
    "not yet valid": lambda world: f"Bearer {_token(world.settings, nbf=int(time.time()) + 60)}",
    "of another issuer": lambda world: f"Bearer {_token(world.settings, iss=MARK)}",
    "for another audience": lambda world: f"Bearer {_token(world.settings, aud=MARK)}",
    "of nobody": lambda world: f"Bearer {_token(world.settings, sub='')}",
}


@pytest.mark.parametrize("header_of", TOKENS.values(), ids=TOKENS)
async def test_a_caller_without_a_good_token(world: World, header_of: Callable[[World], str | None]) -> None:
    """The full set of bad tokens stands in test_authentication.py; here: nothing is written."""
    header = header_of(world)
    headers = {} if header is None else {"Authorization": header}
    posted = world.alice.client.post("/chatkit", json=create(MARK), headers=headers)
    response = await refused(world, posted, 401, "unauthenticated")
    assert response.headers["www-authenticate"].startswith("Bearer")
    assert world.alice.token not in response.text


async def test_two_authorization_headers(world: World) -> None:
    """Which of them counts is nobody's guess."""
    headers = [("Authorization", f"Bearer {world.alice.token}")] * 2
    posted = world.alice.client.post("/chatkit", json=create(MARK), headers=headers)
    await refused(world, posted, 401, "unauthenticated")


KEYS = {
    "empty": b"",
    "too long": b"k" * 256,
    "white space in it": b"a b",
    "not ASCII": "schlüssel".encode(),
    "a control character": b"a\tb",
}


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
async def test_a_bad_idempotency_key(world: World, key: bytes) -> None:
    headers = [
        (b"Authorization", f"Bearer {world.alice.token}".encode()),
        (b"Idempotency-Key", key),
    ]
    posted = world.alice.client.post("/chatkit", json=create(MARK), headers=headers)
    await refused(world, posted, 400, "invalid_idempotency_key")


# --- what the server does not do


UNSUPPORTED: dict[str, Callable[[Place], dict[str, Any]]] = {
    "input.transcribe": lambda it: request("input.transcribe", audio_base64="AAAA", mime_type="audio/webm"),
    "threads.sync_custom_action": lambda it: action("threads.sync_custom_action", it.thread, it.widget),
    "attachments.create": lambda it: request("attachments.create", name="a", size=1, mime_type="text/plain"),
    "attachments.delete": lambda it: request("attachments.delete", attachment_id=it.attachment),
}


@pytest.mark.parametrize("name", UNSUPPORTED)
async def test_what_the_server_does_not_support(world: World, name: str) -> None:
    """Not a 5xx: the stock widget would send it again."""
    await refused(world, world.bare.post(UNSUPPORTED[name](world.own)), 400, "not_supported")


FILES: dict[str, dict[str, Any]] = {
    "of a type that is not allowed": {"name": "a.exe", "size": 1, "mime_type": "application/x-msdownload"},
    "of no type": {"name": "a", "size": 1, "mime_type": ""},
    "of no bytes": {"name": "a", "size": 0, "mime_type": "text/plain"},
    "of less than no bytes": {"name": "a", "size": -1, "mime_type": "text/plain"},
    "too large": {"name": "a", "size": 10**12, "mime_type": "text/plain"},
    "absurdly large": {"name": "a", "size": 10**300, "mime_type": "text/plain"},
    "without a name": {"name": "", "size": 1, "mime_type": "text/plain"},
    "with an endless name": {"name": "n" * 10_000, "size": 1, "mime_type": "text/plain"},
}


@pytest.mark.parametrize("file", FILES.values(), ids=FILES)
async def test_a_file_that_is_not_accepted(world: World, file: dict[str, Any]) -> None:
    await refused(world, world.alice.post(request("attachments.create", **file)), 422, "attachment_rejected")


# --- what is odd, and no error

ODD: dict[str, bytes] = {
    "U+0000": b'"a\\u0000b"',
    "a key with U+0000": b'{"\\u0000": 1}',
    "the largest doubles": b"[1.7976931348623157e308, -1.7976931348623157e308]",
    "an integer of 4,300 digits": b"9" * 4300,
    "190 brackets": b"[" * 190 + b"]" * 190,
    "190 objects": b'{"a":' * 190 + b"1" + b"}" * 190,
    "a key twice": b'{"a": 1, "a": 2}',
    "half a character": b'"cut \\ud83d"',
    "the other half": b'"\\uDE00 cut"',
    "two halves the wrong way round": b'"\\ude00\\ud83d"',
    "a key with half a character": b'{"\\ud83d": 1}',
    "other scripts": '"\u2028 \U0001f600 \u202e"'.encode(),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def working(world: World) -> AsyncIterator[Caller]:
    """Alice at an API that has a worker."""
    settings = world.settings.model_copy(update={"port": free_port()})
    async with running(settings, lambda: ProtocolServer(store=None)) as system:
        yield await system.caller("alice", "globex")


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
async def test_odd_values_where_any_json_may_stand(working: Caller, odd: bytes) -> None:
    """Metadata, a tag, a tool output, an action: each is taken, its run completes, its thread can be read."""

    async def stream(body: dict[str, Any]) -> Answer:
        raw = json.dumps(body).encode().replace(b'"ODD"', odd)
        response = await working.post(raw)
        assert response.status_code == 200, response.text
        answer = Answer(response.status_code, response.headers, response.content)
        assert answer.end == "completed"
        return answer

    tag = {"type": "input_tag", "id": "t", "text": "tool", "data": {"odd": "ODD"}}
    first = await stream({**with_input(content=[tag], metadata={"odd": "ODD"}), "metadata": {"odd": "ODD"}})
    thread = first.thread_id
    assert (await working.items(thread))[1]["status"] == "pending"
    await stream(request("threads.add_client_tool_output", thread_id=thread, result="ODD"))
    await stream(
        request("threads.custom_action", thread_id=thread, action={"type": "count", "payload": "ODD"})
    )
    assert [item["type"] for item in await working.items(thread)] == [
        "user_message",
        "client_tool_call",
        "assistant_message",
        "assistant_message",
    ]
    assert (await working.ask(request("threads.get_by_id", thread_id=thread)))["id"] == thread
