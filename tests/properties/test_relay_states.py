"""The states of the relay: a followed run against the flags they stand for, a stream through all that can befall it.

Nothing here needs a service: the hub has no connection, and what it would read or hear is given to it.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from relaykit.api import relay
from relaykit.api.limits.caller_limits import Reservation
from relaykit.api.metrics import STREAMS, STREAMS_CLOSED
from relaykit.api.relay.followed_run import FollowedRun
from relaykit.api.relay.hub import Hub
from relaykit.api.relay.sse import INTERRUPTED, encode
from relaykit.api.relay.states import (
    DELIVERY_TRANSITIONS,
    NOTICE_TRANSITIONS,
    STREAM_TRANSITIONS,
    DeliveryState,
    NoticeState,
    StreamState,
)
from relaykit.api.relay.stream import Stream, Streams
from relaykit.shared.journal import START, Cursor, Entry, Field, JournalReader
from relaykit.shared.owner import Owner
from relaykit.shared.redis.client import open_redis
from relaykit.shared.settings import Settings
from tests.support.examples import examples
from tests.support.system import WAIT_SECONDS, make_settings

quick = examples(150)

ALICE = Owner(tenant="", user_id="alice")
RUN = "run_1"

S = TypeVar("S", bound=Enum)


@pytest.mark.parametrize(
    ("table", "first"),
    [
        (NOTICE_TRANSITIONS, NoticeState.UNSUBSCRIBED),
        (DELIVERY_TRANSITIONS, DeliveryState.OPEN),
        (STREAM_TRANSITIONS, StreamState.HEAD_SENT),
    ],
)
def test_a_table_has_every_state_and_each_can_be_reached(table: Mapping[S, frozenset[S]], first: S) -> None:
    assert set(table) == set(type(first))
    reached = {first}
    while more := {target for source in reached for target in table[source]} - reached:
        reached |= more
    assert reached == set(table)


def test_a_stream_never_comes_back_to_a_state_and_can_be_over_from_each() -> None:
    for state in set(StreamState) - {StreamState.OVER}:
        assert StreamState.OVER in STREAM_TRANSITIONS[state]
        later = set(STREAM_TRANSITIONS[state])
        while more := {target for source in later for target in STREAM_TRANSITIONS[source]} - later:
            later |= more
        assert state not in later
    assert STREAM_TRANSITIONS[StreamState.OVER] == frozenset()


Change = Literal["send", "acknowledge", "write", "close", "lose", "come", "come while closing", "go"]


@quick
@given(st.lists(st.sampled_from(get_args(Change)), max_size=15))
async def test_a_followed_run_is_at_what_its_flags_would_say(changes: list[Change]) -> None:
    """Subscribed stays; a lost journal outweighs that streams close; who comes opens what was only being closed."""
    run = FollowedRun(RUN, b"channel", 10**6)
    woken = 0

    def wake() -> None:
        nonlocal woken
        woken += 1

    run.add_listener(wake)
    is_sent = is_acknowledged = is_lost = is_closing = False
    subscribers = told = 0
    for change in changes:
        waiting = asyncio.create_task(run.wait_until_subscribed())
        await asyncio.sleep(0)
        assert waiting.done() == is_acknowledged
        match change:
            case "send":
                run.mark_subscribe_sent()
                is_sent = True
            case "acknowledge":
                must_read = run.mark_subscribed()
                assert must_read == (is_acknowledged or run.tail.last != START)
                is_acknowledged = True
            case "write":
                seq = run.tail.last.seq + 1
                run.take([Entry(Cursor(0, seq), Field.EVENT, b"{}")])
                told += 1
            case "close":
                run.close()
                is_closing, told = True, told + 1
            case "lose":
                run.mark_journal_lost()
                is_lost, told = True, told + 1
            case "come" | "come while closing":
                is_closing = change == "come while closing"
                run.add_subscriber(is_closing=is_closing)
                subscribers += 1
            case "go" if subscribers:
                subscribers -= 1
                assert run.remove_subscriber() == (subscribers == 0)
        await asyncio.sleep(0)
        assert waiting.done() == is_acknowledged
        waiting.cancel()
        if is_acknowledged:
            notices = NoticeState.SUBSCRIBED
        else:
            notices = NoticeState.SUBSCRIBE_SENT if is_sent else NoticeState.UNSUBSCRIBED
        delivery = DeliveryState.CLOSING if is_closing else DeliveryState.OPEN
        assert (run.notices, run.delivery) == (notices, DeliveryState.JOURNAL_LOST if is_lost else delivery)
        assert (run.subscribers, woken) == (subscribers, told)


class WatchedStream(Stream):
    """A stream that notes which state it was to enter, and which it has entered."""

    __slots__ = ("entered", "refused")

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.entered = [StreamState.HEAD_SENT]
        self.refused: list[tuple[StreamState, StreamState]] = []

    @property
    def state(self) -> StreamState:
        return self._state

    @property
    def reason(self) -> str:
        return self._reason

    def expire(self) -> None:
        """The client's token is over."""
        self._closes_at = 0.0

    def _advance(self, state: StreamState) -> bool:
        before = self._state
        may = super()._advance(state)
        if may:
            self.entered.append(state)
        else:
            assert self._state is before
            self.refused.append((before, state))
        return may


Act = Literal[
    "write", "end", "close", "lose", "reopen", "leave", "break", "hold", "expire", "quiet", "step", "abort"
]


@dataclass
class Response:
    """One client's side: what it was sent, and the HTTP server that stands between."""

    gone: asyncio.Event = field(default_factory=asyncio.Event)
    """The client has left, or has taken the whole response."""
    free: asyncio.Event = field(default_factory=asyncio.Event)
    """The client takes what it is sent."""
    is_broken: bool = False
    has_failed: bool = False
    body: bytes = b""
    is_complete: bool = False
    late: int = 0
    """What was sent after the end of the response."""

    async def receive(self) -> Any:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        await self.free.wait()
        self.late += self.is_complete
        if self.is_broken:
            self.has_failed = True
            raise OSError("the transport is broken")
        self.body += message["body"]
        self.is_complete = not message["more_body"]


@pytest.fixture(scope="module")
def offline(issuer_key_file: Path) -> Settings:
    return make_settings("redis://127.0.0.1:1/0", "postgresql://nobody@127.0.0.1:1/none", issuer_key_file, 1)


@quick
@given(st.lists(st.sampled_from(get_args(Act)), max_size=20), st.booleans())
@example(acts=["step", "break", "close", "step"], resumes=True)  # it fails at its last bytes
@example(acts=["step", "hold", "end", "leave"], resumes=True)
async def test_whatever_befalls_a_stream_its_states_follow_the_table_and_it_gives_back_what_it_has(
    offline: Settings, acts: list[Act], resumes: bool
) -> None:
    """It sends each entry once and in order, nothing after the end, and closes for one reason."""
    async with open_redis(offline.redis_url, connections=1) as nowhere:
        hub = Hub(JournalReader(nowhere), nowhere, nowhere, 10**6)
        streams, slots = Streams(offline, hub), Counter[Owner]()
        subscription = await hub.subscribe(RUN, START, expected=True, written=[b"{}"])
        assert subscription is not None
        run, response = subscription.followed, Response()
        stream = WatchedStream(
            streams,
            subscription,
            Reservation(slots, ALICE),
            closes_at=time.time() + 3600,
            resumes=resumes,
            receipt=None,
        )
        response.free.set()
        before = STREAMS._value.get()
        running = asyncio.create_task(stream.run(response.receive, response.send))
        taken = [Entry(Cursor(0, 1), Field.EVENT, b"{}")]
        await asyncio.sleep(0)
        for act in acts:
            await _act(act, hub, run, stream, response, running, taken)
        _write(run, taken, Field.EVENT)  # a stream that still sends has something to send
        await _act("step", hub, run, stream, response, running, taken)
        if StreamState.FAILED not in stream.entered:
            response.gone.set()  # a stream that has failed does not wait for its client
        async with asyncio.timeout(WAIT_SECONDS):
            with suppress(asyncio.CancelledError):
                await running
        assert stream.state is StreamState.OVER
        for source, target in zip(stream.entered, stream.entered[1:], strict=False):
            assert target in STREAM_TRANSITIONS[source]
        assert not any(target in STREAM_TRANSITIONS[source] for source, target in stream.refused)
        assert (slots, hub.followed_runs(), streams._open, STREAMS._value.get()) == ({}, [], set(), before)
        _check_body(response, stream, taken, resumes)


async def _act(
    act: Act,
    hub: Hub,
    run: FollowedRun,
    stream: WatchedStream,
    response: Response,
    running: asyncio.Task[None],
    taken: list[Entry],
) -> None:
    match act:
        case "write":
            _write(run, taken, Field.EVENT)
        case "end":
            _write(run, taken, Field.END)
        case "close":
            hub.close_streams(run)
        case "lose":
            hub.mark_journal_lost(run)
        case "reopen":
            run.add_subscriber(is_closing=False)
            run.remove_subscriber()
        case "leave":
            response.gone.set()
        case "break":
            response.is_broken = True
        case "hold":
            response.free.clear()
        case "expire":
            stream.expire()
            stream.check(time.monotonic(), time.time())
        case "quiet":
            stream.check(time.monotonic() + 3600, time.time())
        case "abort":
            running.cancel()
        case "step":
            response.free.set()
            for _ in range(5):
                await asyncio.sleep(0)


def _write(run: FollowedRun, taken: list[Entry], what: Field) -> None:
    if taken[-1].field is not Field.END:
        taken.append(Entry(Cursor(0, len(taken) + 1), what, b"{}" if what is Field.EVENT else b"completed"))
        run.take(taken[-1:])


def _check_body(response: Response, stream: WatchedStream, taken: list[Entry], resumes: bool) -> None:
    frames = b"".join(map(encode, taken))
    body = re.sub(rb"^retry: \d+\n\n", b"", response.body).replace(b": ping\n\n", b"")
    is_interrupted = body.endswith(INTERRUPTED)
    assert frames.startswith(body.removesuffix(INTERRUPTED))
    assert is_interrupted == (response.is_complete and not resumes and b": end " not in body)
    if response.is_complete:
        assert stream.entered[1:3] == [StreamState.LIVE, StreamState.CLOSING]
        assert stream.reason in ("ended", "drain", "token", "journal_gone")
        assert (stream.reason == "ended") == (b": end " in body)
    assert response.late == 0
    has_failed = StreamState.FAILED in stream.entered
    assert has_failed == response.has_failed
    if has_failed:
        assert stream.reason == "failed"
    if stream.entered[-2] == StreamState.LIVE:
        assert stream.reason == "left"


async def test_a_stream_whose_head_was_not_sent_gives_back_what_it_has_once(offline: Settings) -> None:
    async with open_redis(offline.redis_url, connections=1) as nowhere:
        hub = Hub(JournalReader(nowhere), nowhere, nowhere, 10**6)
        subscription = await hub.subscribe(RUN, START, expected=True, written=[b"{}"])
        slots = Counter[Owner]()
        closed = STREAMS_CLOSED.labels("left")._value.get()
        stream = WatchedStream(
            Streams(offline, hub),
            subscription,
            Reservation(slots, ALICE),
            closes_at=0,
            resumes=True,
            receipt=None,
        )
        await stream.close()
        assert (stream.entered[1:], slots, hub.followed_runs()) == ([StreamState.OVER], {}, [])
        assert STREAMS_CLOSED.labels("left")._value.get() == closed


def test_the_way_that_the_docstring_draws_is_in_the_code() -> None:
    """Each file stands there with the function by which an entry passes through it."""
    folder = Path(relay.__file__).parent
    drawn = re.findall(r"(\w+\.py) +(\w+):", relay.__doc__ or "")
    assert len(drawn) >= 6
    for file, function in drawn:
        assert re.search(rf"def {function}\(", (folder / file).read_text()), (file, function)
    named = set(re.findall(r"\b(\w+\.py)\b", relay.__doc__ or ""))
    assert {path.name for path in folder.glob("*.py")} - {"__init__.py"} <= named
