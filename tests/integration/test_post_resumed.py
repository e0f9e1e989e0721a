"""`Last-Event-ID` on a POST: a client that repeats its POST to go on, as fetch-event-source does, goes on with its run.

It makes no second one, whatever it asks for: nothing is written.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from redis.asyncio import Redis

from relaykit.shared.redis import keys
from relaykit.shared.settings import Settings
from tests.integration.test_limits import state
from tests.support.clients.stream_clients import after, body, cursors
from tests.support.servers.relay_servers import Script, ScriptedAnswers, open_gate
from tests.support.system import Caller, System, create, keyed, message, parse_frames, running, wait_until

HOLD = 6
KEYS = pytest.mark.parametrize("key", [{}, keyed("k1")], ids=["without a key", "with a key"])
PLAIN = {"Relaykit-Resume": "0"}
"""What the caller of the tests says, but for these: they are about clients that know nothing of Relaykit."""


@pytest.fixture
async def system(settings: Settings) -> AsyncIterator[System]:
    async with running(settings, ScriptedAnswers, apis=2) as system:
        yield system


@pytest.fixture
async def alice(system: System) -> Caller:
    return await system.caller()


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    gate = tmp_path / "gate"
    open_gate(gate)
    return gate


def held(gate: Path) -> str:
    return str(Script(deltas=12, gate=str(gate), holds=[HOLD]))


async def cut(caller: Caller, request: dict[str, Any], headers: dict[str, str]) -> tuple[str, bytes]:
    """Posts it and leaves in the middle of the answer; the run, and what came of it in whole events."""
    raw = b""
    async with caller.open_stream(request, {**PLAIN, **headers}) as response:
        async for part in response.aiter_raw():
            raw += part
            if raw.count(b"text_delta") >= 3 and raw.endswith(b"\n\n"):
                break
    return response.headers["x-run-id"], raw


def from_(cursor: str, more: dict[str, str]) -> dict[str, str]:
    return {**PLAIN, **more, "Last-Event-ID": cursor}


async def refused(
    settings: Settings, caller: Caller, request: dict[str, Any], headers: dict[str, str]
) -> str:
    """The status and code with which it is; nothing is written."""
    before = await state(settings)
    response = await caller.post(request, headers)
    assert await state(settings) == before
    return f"{response.status_code} {response.json()['error']['code']}"


@KEYS
@pytest.mark.parametrize("kind", ["threads.create", "threads.add_user_message"])
async def test_a_tab_that_was_hidden_goes_on_with_its_run(
    system: System, settings: Settings, alice: Caller, gate: Path, kind: str, key: dict[str, str]
) -> None:
    """At the other API: exactly what follows the cursor, once; one run, one message."""
    request = create(held(gate))
    if kind == "threads.add_user_message":
        request = message((await alice.stream(create(str(Script(deltas=1))))).thread_id, held(gate))
    run_id, seen = await cut(alice, request, key)
    before = await state(settings)
    elsewhere = await system.caller(api=1)
    async with elsewhere.open_stream(request, from_(cursors(seen)[-1], key)) as response:
        assert (response.status_code, response.headers["x-run-id"]) == (200, run_id)
        assert (await state(settings)).rows == before.rows
        open_gate(gate, HOLD)
        rest = b"".join([part async for part in response.aiter_raw()])
    whole = (await alice.resume(run_id, None)).raw
    assert body(rest) == after(body(whole), cursors(seen)[-1])
    assert rest.endswith(b": end completed\n\n")


@KEYS
async def test_a_run_that_ended_meanwhile_is_given_to_its_end(
    system: System, settings: Settings, alice: Caller, gate: Path, key: dict[str, str]
) -> None:
    """Also where nothing is left but the end: to a client like this a 204 is an error, after which it comes again."""
    request = create(held(gate))
    run_id, seen = await cut(alice, request, key)
    open_gate(gate, HOLD)
    whole = (await alice.resume(run_id, None)).raw
    before = await state(settings)
    for cursor in (cursors(seen)[-1], cursors(whole)[-1]):
        answer = await alice.stream(request, from_(cursor, key))
        assert (answer.run_id, body(answer.raw)) == (run_id, after(body(whole), cursor))
    assert body(answer.raw) == b": end completed\n\n"
    assert (await state(settings)).rows == before.rows


@KEYS
async def test_without_a_run_it_is_refused(
    settings: Settings, system: System, alice: Caller, key: dict[str, str]
) -> None:
    assert await refused(settings, alice, create("hello"), from_("1-4", key)) == "409 nothing_to_resume"


@KEYS
async def test_what_somebody_else_has_asked_is_not_resumed(
    settings: Settings, system: System, alice: Caller, gate: Path, key: dict[str, str]
) -> None:
    request = create(held(gate))
    _, seen = await cut(alice, request, key)
    for other in (await system.caller("bob"), await system.caller("alice", "acme")):
        headers = from_(cursors(seen)[-1], key)
        assert await refused(settings, other, request, headers) == "409 nothing_to_resume"
    open_gate(gate, HOLD)


async def test_another_body_is_not_resumed(settings: Settings, system: System, alice: Caller) -> None:
    first = await alice.stream(create(str(Script())), keyed("k1"))
    await alice.stream(create("hello"))
    cursor = first.frames[-1][0]
    other = create("other")
    assert await refused(settings, alice, other, from_(cursor, {})) == "409 nothing_to_resume"
    assert await refused(settings, alice, other, from_(cursor, keyed("k1"))) == "422 idempotency_mismatch"
    assert await refused(settings, alice, other, from_(cursor, keyed("k2"))) == "409 nothing_to_resume"


@pytest.mark.parametrize("cursor", ["x", "1", "1-", "-1-2", "1-2-3", "01-2", "1-2 ", "run_1:1-2", "1" * 400])
async def test_what_is_no_cursor_of_ours_is_refused(
    settings: Settings, system: System, alice: Caller, cursor: str
) -> None:
    """Another service's id, say: its client has had something, and does not mean another message."""
    first = await alice.stream(create("hello"))
    if cursor == "1-2 ":
        cursor = "1 -2"  # a header has no space at its end
    assert await refused(settings, alice, create("hello"), from_(cursor, {})) == "400 invalid_cursor"
    for request in ({"type": "threads.list", "params": {}}, _title(first.thread_id)):
        assert (await alice.post(request, from_(cursor, {}))).status_code == 200


def _title(thread_id: str) -> dict[str, Any]:
    return {"type": "threads.update", "params": {"thread_id": thread_id, "title": "Mine"}}


async def test_an_empty_one_is_none(system: System, alice: Caller) -> None:
    """As with an EventSource whose last id was reset."""
    first = await alice.stream(create("hello"), {"Last-Event-ID": ""})
    second = await alice.stream(create("hello"), {"Last-Event-ID": ""})
    assert {first.end, second.end} == {"completed"}
    assert first.run_id != second.run_id


async def test_of_two_tabs_with_the_same_prompt_none_is_guessed(
    settings: Settings, system: System, alice: Caller, gate: Path, tmp_path: Path
) -> None:
    """Both have what the cursor names. Once only one of them can be meant, it is that one; a key tells them apart."""
    request = create(held(gate))
    first, seen = await cut(alice, request, {})
    second, _ = await cut(alice, request, {})
    assert first != second
    shared_cursor = cursors(seen)[-1]
    headers = from_(shared_cursor, {})
    assert await refused(settings, alice, request, headers) == "409 nothing_to_resume"
    async with Redis.from_url(settings.redis_url) as redis:
        await redis.xtrim(keys.journal(second), maxlen=0)
    async with alice.open_stream(request, headers) as response:
        assert response.headers["x-run-id"] == first
    open_gate(gate, HOLD)
    runs = []
    for name in ("k1", "k2"):
        keyed_run, seen = await cut(alice, request, keyed(name))
        answer = await alice.stream(request, from_(cursors(seen)[-1], keyed(name)))
        assert answer.run_id == keyed_run
        runs.append(keyed_run)
    assert len(set(runs)) == 2


async def test_the_same_words_that_were_answered_whole_are_not_in_the_way(
    system: System, settings: Settings, alice: Caller, gate: Path
) -> None:
    """Said again in the same thread: the first answer was sent to its end, and its client does not come again."""
    thread_id = (await alice.stream(create(str(Script(deltas=1))))).thread_id
    request = message(thread_id, held(gate))
    open_gate(gate, HOLD)
    first = await alice.stream(request, PLAIN)
    async with Redis.from_url(settings.redis_url) as redis:
        await wait_until("it is noted", lambda: redis.exists(keys.delivered(first.run_id)))
    (gate / str(HOLD)).unlink()
    second, seen = await cut(alice, request, {})
    assert second != first.run_id
    async with alice.open_stream(request, from_(cursors(seen)[-1], {})) as response:
        assert (response.status_code, response.headers["x-run-id"]) == (200, second)
        open_gate(gate, HOLD)
        rest = b"".join([part async for part in response.aiter_raw()])
    assert body(rest) == after(body((await alice.resume(second, None)).raw), cursors(seen)[-1])


async def test_a_reader_who_follows_a_run_delivers_it_to_nobody_else(
    system: System, settings: Settings, alice: Caller, gate: Path
) -> None:
    """Another tab has seen it to its end by its id; the client that posted was cut, and may come again."""
    request = create(held(gate))
    first, seen = await cut(alice, request, {})
    open_gate(gate, HOLD)
    assert (await alice.resume(first, None)).end == "completed"
    await alice.stream(request)
    async with alice.open_stream(request, from_(cursors(seen)[-1], {})) as response:
        assert response.headers["x-run-id"] == first


async def test_the_same_words_of_long_ago_are_not_in_the_way(settings: Settings, gate: Path) -> None:
    """A run whose events nobody can have any more is none that a client goes on with."""
    brief = settings.model_copy(update={"journal_ended_ttl_seconds": 1})
    async with running(brief, ScriptedAnswers) as system:
        alice = await system.caller()
        thread_id = (await alice.stream(create(str(Script(deltas=1))))).thread_id
        request = message(thread_id, held(gate))
        open_gate(gate, HOLD)
        old = await alice.stream(request)
        async with Redis.from_url(settings.redis_url) as redis:
            await wait_until("its journal has expired", lambda: _is_gone(redis, old.run_id))
        (gate / str(HOLD)).unlink()
        run_id, seen = await cut(alice, request, {})
        async with alice.open_stream(request, from_(cursors(seen)[-1], {})) as response:
            assert response.headers["x-run-id"] == run_id
        open_gate(gate, HOLD)


async def _is_gone(redis: Redis, run_id: str) -> bool:
    return not await redis.exists(keys.journal(run_id))


@KEYS
async def test_a_journal_that_was_lost_is_told(
    settings: Settings, system: System, alice: Caller, gate: Path, key: dict[str, str]
) -> None:
    """With the thread, which the client may not know: 410, as for whoever resumes by the run's id."""
    request = create(held(gate))
    _, seen = await cut(alice, request, key)
    async with Redis.from_url(settings.redis_url) as redis:
        await redis.flushdb()
        response = await alice.post(request, from_(cursors(seen)[-1], key))
        assert (response.status_code, response.json()["error"]["code"]) == (410, "journal_gone")
        [created] = [event for _, event in parse_frames(seen) if event["type"] == "thread.created"]
        assert response.json()["error"]["thread_id"] == created["thread"]["id"]
    open_gate(gate, HOLD)


@KEYS
async def test_a_retry_that_had_attached_goes_on_with_the_run_it_attached_to(
    settings: Settings, system: System, alice: Caller, gate: Path, key: dict[str, str]
) -> None:
    """The stock widget's Retry is another body than the message whose run it follows."""
    run_id, seen = await cut(alice, create(held(gate)), {})
    item = next(event["item"] for _, event in parse_frames(seen) if event["type"] == "thread.item.done")
    params = {"thread_id": item["thread_id"], "item_id": item["id"]}
    retry = {"type": "threads.retry_after_item", "params": params}
    attached, seen = await cut(alice, retry, key)
    assert attached == run_id
    before = await state(settings)
    async with alice.open_stream(retry, from_(cursors(seen)[-1], key)) as response:
        assert (response.status_code, response.headers["x-run-id"]) == (200, run_id)
        assert (await state(settings)).rows == before.rows
        open_gate(gate, HOLD)
        rest = b"".join([part async for part in response.aiter_raw()])
    assert body(rest) == after(body((await alice.resume(run_id, None)).raw), cursors(seen)[-1])


async def test_a_stream_that_closes_early_is_not_taken_for_whole(settings: Settings, gate: Path) -> None:
    """fetch-event-source takes EOF for the end: unless the client says that it resumes, an error comes before it."""
    brief = settings.model_copy(
        update={"jwt_leeway_seconds": 0, "token_grace_seconds": 0, "ping_seconds": 0.5}
    )
    async with running(brief, ScriptedAnswers) as system:
        alice = await system.caller()
        request = create(held(gate))
        _, seen = await cut(alice, request, {})
        given = await alice.client.post("/dev/token", json={"sub": "alice", "ttl_seconds": 3})
        alice.token = given.json()["access_token"]
        cursor = cursors(seen)[-1]
        answer = await alice.stream(request, from_(cursor, {}))
        assert (answer.end, answer.events[-1]["type"], answer.events[-1]["allow_retry"]) == (
            None,
            "error",
            True,
        )
        open_gate(gate, HOLD)


@pytest.mark.parametrize(
    ("limit", "code"), [("queue_max_depth", "queue_full"), ("tenant_max_queued", "too_many_queued")]
)
async def test_a_full_queue_is_not_in_the_way(settings: Settings, limit: str, code: str) -> None:
    """It asks for no run, and neither does the same request again."""
    key = {"Idempotency-Key": "again"}
    async with running(settings.model_copy(update={limit: 1}), ScriptedAnswers, workers=0) as system:
        alice = await system.caller("alice", "acme")
        request = create("hello")
        async with alice.open_stream(request, key) as response:
            raw = await anext(response.aiter_raw())
        assert (await alice.post(create("another"))).json()["error"]["code"] == code
        for headers in (key, from_(cursors(raw)[0], key)):
            async with alice.open_stream(request, headers) as again:
                assert again.headers["x-run-id"] == response.headers["x-run-id"]


async def test_the_limits_of_a_caller_hold(settings: Settings, gate: Path) -> None:
    limited = settings.model_copy(update={"caller_max_streams": 1})
    async with running(limited, ScriptedAnswers) as system:
        alice = await system.caller()
        request = create(held(gate))
        async with alice.open_stream(request) as response:
            parts, raw = response.aiter_raw(), b""  # kept: who lets go of them closes the stream
            while b"text_delta" not in raw:
                raw += await anext(parts)
            again = await alice.post(request, from_(cursors(raw)[-1], {}))
            assert (again.status_code, again.json()["error"]["code"]) == (429, "too_many_streams")
        open_gate(gate, HOLD)
    rated = settings.model_copy(update={"caller_requests_per_minute": 4})
    async with running(rated, ScriptedAnswers) as system:
        alice = await system.caller("carol")
        codes = {(await _code(await alice.post(create("x"), from_("1-1", {})))) for _ in range(8)}
        assert codes == {"nothing_to_resume", "rate_limited"}


async def _code(response: httpx2.Response) -> str:
    return response.json()["error"]["code"]
