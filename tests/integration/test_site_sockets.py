"""WebSockets of CHATKIT_APP, by a real client over real sockets."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import pickle
import struct
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from structlog.testing import capture_logs
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, InvalidStatus
from websockets.frames import OP_BINARY, OP_CLOSE, OP_CONT, OP_PING, OP_PONG, OP_TEXT, Frame

from relaykit.api.http import websocket, websocket_connection
from relaykit.api.http.websocket import MAX_IDLE_FRAMES, MAX_PONG_BYTES, SLICE_BYTES, WebSocket
from relaykit.api.metrics import CONNECTIONS, WEBSOCKETS
from relaykit.shared.settings import Settings
from tests.support.clients.stream_clients import asking
from tests.support.servers import lively_site, socket_site
from tests.support.servers.lively_site import FOLDER, noted
from tests.support.servers.relay_servers import Script, open_gate
from tests.support.system import (
    START_SECONDS,
    Caller,
    System,
    create,
    fork_process,
    running,
    running_processes,
    wait_until,
)

SITE = "tests.support.servers.socket_site"
DELTAS = 8
SMALL, LARGE = 5_000, 1_500
"""Messages: more than the kernel holds."""
KEY = base64.b64encode(b"0123456789abcdef").decode()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.setenv(FOLDER, str(folder))
    monkeypatch.setattr(lively_site, "pools", [])
    return folder


def with_sockets(settings: Settings, app: str = "app", **more: Any) -> Settings:
    given = {
        "chatkit_server": "tests.support.servers.lively_site:ScriptedAnswers",
        "chatkit_app": f"{SITE}:{app}",
        **more,
    }
    return settings.model_copy(update=given)


@asynccontextmanager
async def site(
    settings: Settings, app: str = "app", *, workers: int = 0, **more: Any
) -> AsyncIterator[System]:
    async with running(with_sockets(settings, app, **more), workers=workers) as system:
        yield system


def opened(system: System, path: str, **more: Any) -> connect:
    given = {"compression": None, "ping_interval": None, "proxy": None, **more}
    return connect(f"ws{system.urls[0].removeprefix('http')}{path}", **given)


async def refused(system: System, path: str, **more: Any) -> InvalidStatus:
    with pytest.raises(InvalidStatus) as raised:
        async with opened(system, path, **more):
            pass
    return raised.value


async def closed(socket: ClientConnection) -> int | None:
    """The code by which the connection ends; None of one that ends without."""
    try:
        while True:
            await socket.recv()
    except ConnectionClosed as end:
        return None if end.rcvd is None else int(end.rcvd.code)


@pytest.fixture(autouse=True)
def _none_counted() -> None:
    """The gauges are the process's: an API that was stopped with a connection open has left it in them."""
    WEBSOCKETS.set(0)
    CONNECTIONS.set(0)


async def gone() -> None:
    await wait_until("no WebSocket is counted", lambda: WEBSOCKETS._value.get() == 0)


class Raw:
    """A client that sends what it likes, and reads only when it is told to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, opcode: Any, data: bytes = b"", *, fin: bool = True) -> None:
        self.writer.write(Frame(opcode, data, fin).serialize(mask=True))

    async def head(self) -> bytes:
        return await self.reader.readuntil(b"\r\n\r\n")


@asynccontextmanager
async def raw(system: System, path: str, *fields: str, behind: bytes = b"") -> AsyncIterator[Raw]:
    reader, writer = await asyncio.open_connection("127.0.0.1", system.settings.port, limit=4096)
    lines = [
        f"GET {path} HTTP/1.1", "Host: a", "Connection: keep-alive, Upgrade", "Upgrade: WebSocket",
        *(fields or (f"Sec-WebSocket-Key: {KEY}", "Sec-WebSocket-Version: 13")), "", "",
    ]  # fmt: skip
    writer.write("\r\n".join(lines).encode("latin-1") + behind)
    try:
        yield Raw(reader, writer)
    finally:
        writer.transport.abort()


async def test_messages_go_both_ways_with_their_subprotocol_headers_and_state(settings: Settings) -> None:
    async with site(settings) as system:
        async with opened(system, "/echo", subprotocols=["chat.v1", "chat.v2"]) as socket:
            assert socket.subprotocol == "chat.v2"
            assert socket.response is not None
            assert socket.response.headers["x-shelf"] == "oak"
            assert "sec-websocket-extensions" not in socket.response.headers
            for message in (
                "a text with ü and 🦊",
                "",
                b"bytes \x00\xff",
                b"",
                "x" * 300_000,
                b"y" * 1_048_576,
            ):
                await socket.send(message)
                assert await socket.recv() == message
            await socket.send(["in ", "three ", "frames"])
            assert await socket.recv() == "in three frames"
            for number in range(500):
                await socket.send(str(number))
            assert [await socket.recv() for _ in range(500)] == [str(number) for number in range(500)]
            await asyncio.wait_for(await socket.ping(), 60)
        await wait_until("it hears of the end", lambda: "gone 1000" in noted())
        await gone()


async def test_two_at_once_and_a_client_that_vanishes(settings: Settings) -> None:
    async with site(settings) as system:
        async with opened(system, "/echo") as one, opened(system, "/echo") as other:
            await one.send("one")
            await other.send("other")
            assert (await other.recv(), await one.recv()) == ("other", "one")
            assert WEBSOCKETS._value.get() == 2
            one.transport.abort()
            await wait_until("the route hears it", lambda: "gone 1006" in noted())
            await other.send("still here")
            assert await other.recv() == "still here"
        await gone()


async def test_one_line_at_its_end_has_numbers_and_nothing_of_the_messages(settings: Settings) -> None:
    with capture_logs() as lines:
        async with site(settings) as system:
            async with opened(
                system, "/echo?token=Geheim7391", additional_headers={"X-Request-Id": "req-7"}
            ) as socket:
                await socket.send("Geheim7391")
                await socket.recv()
            await gone()
    (line,) = [line for line in lines if line["action"] == "websocket_end"]
    assert (line["request_id"], line["status"], line["close_code"]) == ("req-7", 101, 1000)
    assert (line["received"], line["received_bytes"], line["sent"], line["sent_bytes"]) == (1, 10, 1, 10)
    assert "Geheim7391" not in str(lines)


async def test_an_upgrade_elsewhere_is_answered_as_the_plain_request_that_it_is(settings: Settings) -> None:
    """On a path of ours, without CHATKIT_APP, with a body, with another method, or to another protocol."""
    async with site(settings) as system:
        for path, status in (("/healthz", b"200"), ("/chatkit", b"405"), ("/runs/all", b"401")):
            async with raw(system, path) as client:
                head = await client.head()
                assert head.startswith(b"HTTP/1.1 " + status), head
                assert b"connection: close" in head.lower()
        async with raw(
            system, "/plain", f"Sec-WebSocket-Key: {KEY}", "Sec-WebSocket-Version: 13", "Content-Length: 2",
            behind=b"hi",
        ) as client:  # fmt: skip
            assert (await client.head()).startswith(b"HTTP/1.1 200")
        async with raw(system, "/plain", "Upgrade: h2c") as client:
            assert (await client.head()).startswith(b"HTTP/1.1 200")
    plain = settings.model_copy(
        update={"chatkit_server": "tests.support.servers.lively_site:ScriptedAnswers"}
    )
    async with running(plain, workers=0) as system, raw(system, "/echo") as client:
        assert (await client.head()).startswith(b"HTTP/1.1 404")


@pytest.mark.parametrize(
    "fields",
    [
        ["Sec-WebSocket-Version: 13"],
        [f"Sec-WebSocket-Key: {KEY}"],
        [f"Sec-WebSocket-Key: {KEY}", "Sec-WebSocket-Version: 12"],
        ["Sec-WebSocket-Key: short", "Sec-WebSocket-Version: 13"],
        [f"Sec-WebSocket-Key: {KEY}", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Protocol: a;;b,,"],
        [f"Sec-WebSocket-Key: {KEY}", "Sec-WebSocket-Version: 13", "Origin: http://a", "Origin: http://b"],
    ],
    ids=["no key", "no version", "version", "key", "subprotocol", "origins"],
)
async def test_a_handshake_that_is_none_is_refused_in_our_shape(
    settings: Settings, fields: list[str]
) -> None:
    async with site(settings) as system, raw(system, "/echo", *fields) as client:
        assert (await client.head()).startswith(b"HTTP/1.1 400")
        body = await client.reader.read()
        assert json.loads(body)["error"]["code"] == "bad_request"


async def test_a_kept_connection_becomes_a_socket_and_frames_behind_the_head_wait(settings: Settings) -> None:
    """An HTTP request before it on the same connection, and a client that does not wait for the 101."""
    async with site(settings):
        reader, writer = await asyncio.open_connection("127.0.0.1", settings.port)
        client = Raw(reader, writer)
        writer.write(b"GET /plain HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await client.head()).startswith(b"HTTP/1.1 200")
        assert await reader.readexactly(7) == b'"plain"'
        early = Frame(OP_PING, b"p").serialize(mask=True) + Frame(OP_TEXT, b"early").serialize(mask=True)
        writer.write(
            b"GET /echo HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %b\r\n\r\n" % KEY.encode() + early
        )
        assert (await client.head()).startswith(b"HTTP/1.1 101")
        assert await reader.readexactly(3) == b"\x8a\x01p"
        assert await reader.readexactly(7) == b"\x81\x05early"
        assert CONNECTIONS._value.get() == 1
        writer.transport.abort()
        await gone()


async def test_a_head_may_have_the_fields_that_a_request_may_have(settings: Settings) -> None:
    """A cookie with a large token, and a text that is not ASCII; beyond the limits it is refused as a request is."""
    fields = (f"Sec-WebSocket-Key: {KEY}", "Sec-WebSocket-Version: 13", "X-Name: J\xfcrgen")
    async with site(settings) as system:
        async with raw(system, "/echo?q=%C3%BC", f"Cookie: token={'x' * 16_384}", *fields) as client:
            assert (await client.head()).startswith(b"HTTP/1.1 101")
        async with raw(system, "/echo", f"Cookie: token={'x' * 65_536}", *fields) as client:
            assert (await client.head()).startswith(b"HTTP/1.1 431")


async def test_what_a_client_may_not_send_closes_the_connection_with_its_code(settings: Settings) -> None:
    async with site(settings, websocket_max_bytes=4096) as system:
        async with opened(system, "/echo") as socket:
            await socket.send("x" * 4096)
            await socket.recv()
            await socket.send("x" * 4097)
            assert await closed(socket) == 1009
        async with opened(system, "/echo") as socket:
            await socket.send(["x" * 4000, "x" * 97])
            assert await closed(socket) == 1009
        for data, code in (
            (Frame(OP_TEXT, b"\xff\xfe").serialize(mask=True), 1007),
            (Frame(OP_CONT, b"a").serialize(mask=True), 1002),
            (b"\xc1\x80\x00\x00\x00\x00", 1002),
            (Frame(OP_TEXT, b"unmasked").serialize(mask=False), 1002),
        ):
            async with raw(system, "/echo") as client:
                await client.head()
                client.writer.write(data)
                assert await _close_code(client) == code, data
                assert await client.reader.read() == b""
        await gone()
        await wait_until("all routes have ended", lambda: noted().count("echo ended") == 6)


async def _close_code(client: Raw) -> int:
    """Of the next frame, which has to be a close."""
    head = await client.reader.readexactly(2)
    assert head[0] == 0x88, head
    body = await client.reader.readexactly(head[1])
    return int(struct.unpack("!H", body[:2])[0])


async def test_a_large_message_is_refused_although_its_client_sends_on(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client can read why, because the connection is not reset under it; what it sends on is kept nowhere."""
    sockets = _recorded(monkeypatch)
    async with site(settings) as system, raw(system, "/echo") as client:
        await client.head()
        whole = Frame(OP_BINARY, b"x" * (settings.websocket_max_bytes + 1)).serialize(mask=True)
        client.writer.write(whole[: settings.websocket_max_bytes // 2])
        assert await _close_code(client) == 1009
        client.writer.write(whole[settings.websocket_max_bytes // 2 :])
        await wait_until("some of it has come", lambda: sockets[0]._surplus_bytes > 0)
        assert sockets[0]._held == b""


async def test_a_client_that_does_not_read_slows_the_route_down_and_nobody_else(
    settings: Settings, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    async with site(settings, workers=1) as system:
        alice = await system.caller()
        async with raw(system, "/flood") as client:
            await client.head()
            await _stands(lambda: sum(line.startswith("piece") for line in noted()))
            held = sum(line.startswith("piece") for line in noted())
            assert held * socket_site.FLOOD_BYTES < 32 * 1024 * 1024, "it went on without its client"
            await _stream_goes_on(alice, gate)
            await client.reader.readexactly(4 * 1024 * 1024)
            await wait_until(
                "the route goes on", lambda: sum(line.startswith("piece") for line in noted()) > held
            )
        await wait_until("it hears that the client has gone", lambda: "flood ended" in noted())
        await gone()


async def _stands(count: Any) -> None:
    previous = -1

    async def twice() -> bool:
        nonlocal previous
        await asyncio.sleep(0.3)
        now = count()
        stood, previous = now == previous and now > 0, now
        return stood

    await wait_until("it waits for its client", twice)


async def _stream_goes_on(alice: Caller, gate: Path) -> None:
    """A stream gets each delta as it is made."""
    script = str(Script(deltas=DELTAS, gate=str(gate), holds=list(range(DELTAS))))
    async with asking(alice, create(script)) as stream:
        for number in range(DELTAS):
            open_gate(gate, number)
            await stream.until(
                "the next delta",
                lambda answer, after=number: len(answer.of_type("thread.item.updated")) > after,
            )
        assert (await stream.finished()).end == "completed"


async def test_a_route_that_blocks_its_loop_moves_no_delta(
    settings: Settings, tmp_path: Path, folder: Path
) -> None:
    async with site(settings, workers=1) as system:
        alice = await system.caller()
        async with opened(system, "/block") as socket:
            await wait_until("the route blocks", lambda: "blocks" in noted())
            await _stream_goes_on(alice, tmp_path / "gate")
            assert (await alice.get("/readyz")).status_code == 200
            (folder / "open").touch()
            assert await closed(socket) == 1000


async def test_a_blocked_loop_refuses_the_handshake(settings: Settings, folder: Path) -> None:
    async with site(settings, context_seconds=1.5) as system, opened(system, "/block"):
        await wait_until("the route blocks", lambda: "blocks" in noted())
        answer = await refused(system, "/echo")
        assert answer.response.status_code == 503
        assert json.loads(answer.response.body)["error"]["code"] == "server_blocked"
        (folder / "open").touch()


async def test_messages_that_a_route_does_not_take_stay_with_their_client(
    settings: Settings, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The smallest messages there are, of which an unbounded queue would hold seven times the bytes of each."""
    sockets = _recorded(monkeypatch)
    async with site(settings) as system, raw(system, "/slow") as client:
        await client.head()
        frames = Frame(OP_TEXT, b"").serialize(mask=True) * SMALL
        frames += Frame(OP_TEXT, b"x" * 16_384).serialize(mask=True) * LARGE
        writing = asyncio.create_task(_write(client, frames))
        (socket,) = sockets
        await _stands(lambda: len(socket._held))
        assert socket.queue.qsize() <= SLICE_BYTES / 6 + 1
        assert len(socket._held) < 1_048_576
        assert not writing.done(), "the client could send all of it"
        (folder / "take").touch()
        await writing
        client.send(OP_CLOSE, struct.pack("!H", 1000))
        await wait_until("all were taken", lambda: f"took {SMALL + LARGE}" in noted())


def _recorded(monkeypatch: pytest.MonkeyPatch) -> list[WebSocket]:
    """The protocols of the WebSockets that are opened from now on."""
    sockets: list[WebSocket] = []
    begin = WebSocket.begin

    def recording(self: WebSocket, *given: Any, **more: Any) -> None:
        sockets.append(self)
        begin(self, *given, **more)

    monkeypatch.setattr(WebSocket, "begin", recording)
    return sockets


async def _write(client: Raw, data: bytes) -> None:
    for start in range(0, len(data), 65_536):
        client.writer.write(data[start : start + 65_536])
        await client.writer.drain()


async def test_frames_that_hold_nothing_are_not_gathered(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message of empty frames has no size and no end."""
    monkeypatch.setattr(websocket, "IDLE_FRAMES_PAUSE_SECONDS", 0.0)
    sockets = _recorded(monkeypatch)
    async with site(settings) as system, raw(system, "/echo") as client:
        await client.head()
        client.send(OP_TEXT, b"", fin=False)
        await _write(client, Frame(OP_CONT, b"", False).serialize(mask=True) * 100_000)
        client.send(OP_PING, b"p")
        assert await client.reader.readexactly(3) == b"\x8a\x01p", "all have come"
        assert len(pickle.dumps((sockets[0].frames, sockets[0]._message))) < 100
        client.send(OP_CONT, b"end")
        assert await client.reader.readexactly(5) == b"\x81\x03end"


@pytest.mark.parametrize(
    ("path", "start", "frame"),
    [
        ("/echo", b"", Frame(OP_PONG, b"")),
        ("/echo", b"", Frame(OP_PING, b"")),
        ("/echo", Frame(OP_TEXT, b"", False).serialize(mask=True), Frame(OP_CONT, b"", False)),
        ("/closes/4007", b"", Frame(OP_PONG, b"")),
        ("/closes/4007", b"", Frame(OP_BINARY, b"")),
    ],
    ids=["pongs", "pings", "continuations", "after the close", "messages after the close"],
)
async def test_frames_that_bring_no_message_are_parsed_at_a_limited_rate(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, path: str, start: bytes, frame: Frame
) -> None:
    """No message stops their parsing, and one read of them would take the event loop for as long as it has bytes."""
    monkeypatch.setattr(websocket, "IDLE_FRAMES_PAUSE_SECONDS", 3_600.0)
    sockets, parsed = _recorded(monkeypatch), []
    parse = WebSocket._parse

    def counting(self: WebSocket, data: bytes) -> None:
        parsed.append(len(data))
        parse(self, data)

    monkeypatch.setattr(WebSocket, "_parse", counting)
    async with site(settings) as system, raw(system, path) as client:
        await client.head()
        if path != "/echo":
            assert (await client.reader.readexactly(2))[0] == 0x88
        writing = asyncio.create_task(_write(client, start + frame.serialize(mask=True) * 2_000_000))
        await wait_until("it is paused", lambda: sockets[0]._pause_timer is not None)
        async with opened(system, "/echo") as other:
            for number in range(100):
                await other.send(str(number))
                assert await other.recv() == str(number)
        assert sockets[0].read_paused
        of_other = 100 * len(Frame(OP_TEXT, b"99").serialize(mask=True))
        assert sum(parsed) - of_other <= 6 * MAX_IDLE_FRAMES + 2 * SLICE_BYTES
        assert not writing.done()
        writing.cancel()


async def test_a_flood_of_pongs_is_read_to_its_end_and_what_is_behind_it_answered(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websocket, "IDLE_FRAMES_PAUSE_SECONDS", 0.001)
    async with site(settings) as system, raw(system, "/echo") as client:
        await client.head()
        await _write(client, Frame(OP_PONG, b"").serialize(mask=True) * 100_000)
        client.send(OP_TEXT, b"end")
        assert await client.reader.readexactly(5) == b"\x81\x03end"
        client.send(OP_CLOSE, struct.pack("!H", 1000))
        assert await _close_code(client) == 1000


async def test_pings_whose_answers_are_not_read_are_not_answered_without_end(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websocket, "IDLE_FRAMES_PAUSE_SECONDS", 0.0)
    sockets = _recorded(monkeypatch)
    async with site(settings) as system, raw(system, "/echo") as client:
        await client.head()
        pings = Frame(OP_PING, b"p" * 125).serialize(mask=True) * 150_000
        writing = asyncio.create_task(_write(client, pings))
        await wait_until("nothing more is read", lambda: sockets[0]._pong_bytes > MAX_PONG_BYTES)
        await asyncio.sleep(0.3)
        assert sockets[0].unsent_bytes < MAX_PONG_BYTES + 1_048_576
        assert not writing.done()
        taken = 0
        while taken < 127 * 150_000:
            taken += len(await client.reader.read(1_048_576))
        await writing


async def test_exceptions_wrong_messages_and_denials(settings: Settings) -> None:
    """Before the accept a response in our shape, after it a close with 1011."""
    with capture_logs() as lines:
        async with site(settings) as system:
            answer = await refused(system, "/fails/before")
            assert (answer.response.status_code, _code(answer)) == (500, "internal")
            answer = await refused(system, "/no-such")
            assert answer.response.status_code == 403
            answer = await refused(system, "/denies")
            assert answer.response.status_code == 429
            assert answer.response.headers["retry-after"] == "7"
            assert json.loads(answer.response.body) == {"why": "full"}
            for path, code in (
                ("/fails/after", 1011), ("/exits", 1011), ("/returns", 1000), ("/closes/4007", 4007),
            ):  # fmt: skip
                async with opened(system, path) as socket:
                    assert await closed(socket) == code, path
            async with opened(system, "/echo") as socket:
                await socket.send("after all that")
                assert await socket.recv() == "after all that"
            await gone()
    told = [line["action"] for line in lines if line["action"] in ("app_failed", "server_failed")]
    assert told == ["app_failed", "app_failed", "server_failed"]
    assert "Geheim7391" not in str(lines)


def _code(answer: InvalidStatus) -> str:
    return str(json.loads(answer.response.body)["error"]["code"])


async def test_a_bare_application_that_speaks_nonsense(settings: Settings) -> None:
    async with site(settings, "bare") as system:
        for path in ("/silent", "/sends-first", "/bad-header", "/bad-subprotocol"):
            answer = await refused(system, path)
            assert (answer.response.status_code, _code(answer)) == (500, "internal"), path
            assert "set-cookie" not in answer.response.headers
        for path in ("/nonsense", "/bad-code"):
            async with opened(system, path) as socket:
                assert await closed(socket) == 1011, path
        async with raw(system, "/breaks") as client:
            assert await client.reader.read() == b""
        await gone()


async def test_a_disconnect_that_a_route_does_not_catch_is_no_failure(settings: Settings) -> None:
    with capture_logs() as lines:
        async with site(settings) as system:
            async with opened(system, "/careless"):
                await wait_until("it runs", lambda: "careless" in noted())
            async with opened(system, "/sends-on") as socket:
                await socket.recv()
            await wait_until("a sender hears it", lambda: any(line.startswith("told by") for line in noted()))
            await gone()
    assert not [line for line in lines if line["action"] == "app_failed"]


async def test_a_route_that_never_accepts_or_never_ends_is_cancelled_after_its_client_has_gone(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websocket_connection, "LEAVE_SECONDS", 0.2)
    with capture_logs() as lines:
        async with site(settings) as system:
            async with raw(system, "/never"):
                await wait_until("it hangs", lambda: "never accepts" in noted())
            async with opened(system, "/deaf"):
                await wait_until("it hangs", lambda: "deaf" in noted())
            await wait_until("both were cancelled", lambda: {"never ended", "deaf ended"} <= set(noted()))
            await gone()
    assert [line["action"] for line in lines].count("app_left") == 2


async def test_routes_whose_clients_have_gone_keep_their_places_until_newcomers_need_them(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else clients that come, send and go would leave any number of routes, each with the messages it never took."""
    sockets = _recorded(monkeypatch)
    with capture_logs() as lines:
        async with site(settings, max_connections=2, ping_seconds=0.3) as system:
            for number in range(1, 7):
                async with raw(system, "/deaf") as client:
                    await client.head()
                    client.send(OP_TEXT, b"x" * 100_000, fin=number % 2 == 0)
                    await wait_until("it has come", lambda: _holds(sockets[-1]))
                await gone()
                assert (len(sockets), CONNECTIONS._value.get()) == (number, min(number, 2))
                assert sockets[-1]._message == b"", "of a message that will never be whole nothing is kept"
            await wait_until("all but two were cancelled", lambda: noted().count("deaf ended") == 4)
            assert not any(_holds(socket) for socket in sockets[:4]), "the messages are kept"
            async with opened(system, "/echo") as one, opened(system, "/echo") as other:
                for each in (one, other):
                    await each.send("a newcomer")
                    assert await each.recv() == "a newcomer"
                await wait_until("both have made room", lambda: noted().count("deaf ended") == 6)
            await wait_until("all places are given back", lambda: CONNECTIONS._value.get() == 0)
    assert [line["action"] for line in lines].count("app_left") == 6


def _holds(socket: WebSocket) -> bool:
    """Whether a message waits there, or a part of one."""
    queue = socket.queue._queue  # type: ignore[attr-defined]
    return bool(socket._message) or any(each["type"] == "websocket.receive" for each in queue)


async def test_the_verified_caller(settings: Settings) -> None:
    async with site(settings) as system:
        alice = await system.caller("alice", tenant="acme")
        bearer = {"Authorization": f"Bearer {alice.token}", "X-Request-Id": "req-9"}
        async with opened(system, "/me", additional_headers=bearer) as socket:
            assert json.loads(await socket.recv()) == {"user": "alice", "tenant": "acme", "request": "req-9"}
            assert await closed(socket) == 1000
        for headers in ({}, {"Authorization": "Bearer x"}, {"Authorization": f"Bearer {alice.token}x"}):
            answer = await refused(system, "/me", additional_headers=headers)
            ours = await alice.client.post("/chatkit", headers=headers)
            assert answer.response.status_code == ours.status_code == 401
            assert json.loads(answer.response.body)["detail"] == ours.json()["error"]
            assert answer.response.headers["www-authenticate"] == ours.headers["www-authenticate"]
        token_as_protocol = await refused(system, "/me", subprotocols=["bearer", alice.token])
        assert token_as_protocol.response.status_code == 401
    async with site(settings, "bare") as system:
        alice = await system.caller("alice")
        async with opened(
            system, "/me", additional_headers={"Authorization": f"Bearer {alice.token}"}
        ) as socket:
            assert await socket.recv() == "alice"


async def test_a_page_of_another_site_does_not_open_one_with_a_browsers_cookie(settings: Settings) -> None:
    """A GET it is, but its answer is open to the page: only the API's own pages may, and those of CORS_ORIGINS."""
    given = {"token_cookie": "session", "cors_origins": ("https://shop.example",)}
    async with site(settings, **given) as system:
        alice = await system.caller("alice")
        cookie = {"Cookie": f"session={alice.token}"}
        for allowed in (
            {},
            {"Origin": system.urls[0]},
            {"Origin": "https://shop.example"},
            {"Origin": "https://shop.example", "Sec-Fetch-Site": "cross-site"},
            {"Origin": "https://evil.example", "Sec-Fetch-Site": "same-origin"},
        ):
            async with opened(system, "/me", additional_headers={**cookie, **allowed}) as socket:
                assert json.loads(await socket.recv())["user"] == "alice", allowed
        for cross in (
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
            {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
            {"Origin": system.urls[0].replace("127.0.0.1", "localhost"), "Sec-Fetch-Site": "same-site"},
        ):
            answer = await refused(system, "/me", additional_headers={**cookie, **cross})
            assert answer.response.status_code == 403, cross
            assert json.loads(answer.response.body)["detail"]["code"] == "cross_site_request"
        bearer = {"Authorization": f"Bearer {alice.token}", "Origin": "https://evil.example"}
        async with opened(system, "/me", additional_headers=bearer) as socket:
            assert json.loads(await socket.recv())["user"] == "alice", "no browser sends a token of itself"


async def test_authenticate_is_asked_for_a_socket_as_for_a_request(settings: Settings) -> None:
    given = {"authenticate": "tests.support.servers.socket_site:by_name"}
    async with site(settings, **given) as system:
        async with opened(system, "/me", additional_headers={"X-Name": "carol"}) as socket:
            assert json.loads(await socket.recv())["user"] == "carol"
        assert (await refused(system, "/me")).response.status_code == 401
        evil = {"X-Name": "carol", "Origin": "https://evil.example"}
        assert (await refused(system, "/me", additional_headers=evil)).response.status_code == 403
    assert noted().count("asked GET /me") == 2


async def test_a_connection_is_counted_until_it_is_gone(settings: Settings) -> None:
    async with site(settings, max_connections=2) as system:
        async with opened(system, "/echo") as one, opened(system, "/echo"):
            async with httpx2.AsyncClient() as client:
                full = await client.get(f"{system.urls[0]}/healthz")
            assert (full.status_code, full.json()["error"]["code"]) == (503, "too_many_connections")
            await one.send("not evicted")
            assert await one.recv() == "not evicted"
        await gone()
        for _ in range(3):
            async with opened(system, "/echo"), opened(system, "/echo"):
                pass
            await gone()
        await wait_until("all places are given back", lambda: CONNECTIONS._value.get() == 0)


async def test_a_client_that_says_nothing_to_pings_is_dropped_and_one_that_is_not_read_is_not(
    settings: Settings, folder: Path
) -> None:
    async with (
        site(settings, ping_seconds=0.4) as system,
        opened(system, "/echo") as lively,
        raw(system, "/slow") as waiting,
        raw(system, "/echo") as silent,
    ):
        await waiting.head()
        waiting.send(OP_TEXT, b"one")
        waiting.send(OP_TEXT, b"two")
        await silent.head()
        assert await silent.reader.readexactly(2) == b"\x89\x00", "a ping"
        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            await silent.reader.readexactly(2)
        await lively.send("here")
        assert await lively.recv() == "here"
        assert await waiting.reader.readexactly(6) == b"\x89\x00" * 3
        (folder / "take").touch()
        waiting.send(OP_CLOSE, struct.pack("!H", 1000))
        await wait_until("its messages were taken", lambda: "took 2" in noted())


async def test_a_client_that_takes_nothing_for_stall_seconds_is_dropped(settings: Settings) -> None:
    async with site(settings, stall_seconds=0.5) as system, raw(system, "/flood") as client:
        await client.head()
        await wait_until("the route is told", lambda: "flood ended" in noted())
        await gone()


async def test_a_client_that_has_not_taken_what_stands_before_the_ping_is_not_judged_by_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """STALL_SECONDS is its limit: a ping behind a large message comes late to a client that reads all the time."""
    sockets, asked = _recorded(monkeypatch), []
    ping_is_due = WebSocket.ping_is_due

    def counting(self: WebSocket) -> None:
        asked.append(self.writable.is_set())
        ping_is_due(self)

    monkeypatch.setattr(WebSocket, "ping_is_due", counting)
    async with site(settings, ping_seconds=0.2) as system, raw(system, "/flood") as client:
        await client.head()
        await wait_until("pings were due behind what it does not take", lambda: asked.count(False) >= 4)
        assert not sockets[0].transport.is_closing()
        sockets[0]._is_silent = True  # as of a ping before all that
        await client.reader.readexactly(8 * 1024 * 1024)
        await wait_until("it counts as heard", lambda: not sockets[0]._is_silent)


async def test_two_tasks_that_send_while_the_process_stops_are_told_by_an_oserror(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one waits again where the first one has filled the buffer."""
    sockets = _recorded(monkeypatch)
    async with site(settings) as system, raw(system, "/pair") as client:
        await client.head()
        await _stands(lambda: noted().count("part"))
        before = noted().count("part")
        while noted().count("part") == before:
            await client.reader.read(65_536)
        await _stands(lambda: noted().count("part"))
        sockets[0].shutdown()
        while await client.reader.read(1_048_576):
            pass
        await wait_until("both were told", lambda: sum(line.startswith("told by") for line in noted()) == 2)
    assert [line for line in noted() if line.startswith("told by")] == ["told by WebSocketDisconnect"] * 2


async def test_the_drain_closes_with_1012_and_waits_for_the_routes(settings: Settings) -> None:
    async with AsyncExitStack() as clients:
        async with site(settings) as system:
            sockets = [
                await clients.enter_async_context(opened(system, path)) for path in ("/echo", "/sends-on")
            ]
            ends = [asyncio.create_task(closed(each)) for each in sockets]
            early = await clients.enter_async_context(raw(system, "/never"))
            await wait_until("it waits", lambda: "never accepts" in noted())
        assert await asyncio.gather(*ends) == [1012, 1012]
        assert (await early.head()).startswith(b"HTTP/1.1 503")
        assert json.loads(await early.reader.read())["error"]["code"] == "stopping"
    assert {"gone 1012", "echo ended", "never ended"} <= set(noted())
    assert any(line.startswith("told by") for line in noted())
    assert noted()[-1] == "app left", "the lifespan was left before a route had ended"


async def test_a_client_that_has_closed_and_takes_nothing_is_no_failure_of_the_drain(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    sockets = _recorded(monkeypatch)
    async with AsyncExitStack() as clients, site(settings) as system:
        client = await clients.enter_async_context(raw(system, "/flood"))
        await client.head()
        await _stands(lambda: sum(line.startswith("piece") for line in noted()))
        client.send(OP_CLOSE, struct.pack("!H", 1000))
        await wait_until("the close has come", lambda: sockets[0].transport.is_closing())
        assert sockets[0] in sockets[0].connections
    assert {"flood ended", "app left"} <= set(noted())


async def test_a_killed_process_is_the_end_without_a_code(settings: Settings, tmp_path: Path) -> None:
    folder = os.environ[FOLDER]
    async with (
        running_processes(
            with_sockets(settings), tmp_path, workers=0, start=fork_process, **{FOLDER: folder}
        ) as system,
        opened(system, "/echo") as socket,
    ):
        await socket.send("there")
        assert await socket.recv() == "there"
        system.api_processes[0].kill()
        with pytest.raises(ConnectionClosedError):
            await socket.recv()


async def test_a_process_drains_within_its_time_whatever_its_sockets_do(
    settings: Settings, tmp_path: Path
) -> None:
    """A client that answers no close, a route that hears no disconnect, and one that has blocked its loop."""
    folder = os.environ[FOLDER]
    async with (
        running_processes(
            with_sockets(settings, drain_seconds=2),
            tmp_path,
            workers=0,
            start=fork_process,
            **{FOLDER: folder},
        ) as system,
        raw(system, "/echo") as mute,
        opened(system, "/deaf"),
        raw(system, "/never"),
        raw(system, "/flood"),
    ):
        await mute.head()
        await wait_until("they run", lambda: {"deaf", "never accepts"} <= set(noted()))
        assert system.api_processes[0].terminate(START_SECONDS) == 0
        assert await mute.reader.read() == b"\x88\x02" + struct.pack("!H", 1012)
    assert {"deaf ended", "never ended", "flood ended"} <= set(noted())
