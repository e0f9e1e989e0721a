"""The links of the tests: what passes, what waits, and what both sides hear of a fault."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass

import pytest

from tests.support.network.link_connection import RESET_ON_CLOSE, Direction
from tests.support.network.links import Link
from tests.support.system import WAIT_SECONDS, free_port, wait_until

QUIET_SECONDS = 0.2
"""For so long nothing must come."""
BLOCK = bytes(range(256)) * 256
BLOCKS = 512
"""32 MiB: more than all buffers on the way hold."""


@dataclass
class Peer:
    """One side's socket."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def get(self, count: int) -> bytes:
        async with asyncio.timeout(WAIT_SECONDS):
            return await self.reader.readexactly(count)

    async def end(self) -> bytes:
        """What comes before the other side's end. Raises ConnectionResetError."""
        async with asyncio.timeout(WAIT_SECONDS):
            return await self.reader.read()

    async def hears_nothing(self) -> bool:
        """Neither bytes nor an end."""
        with suppress(TimeoutError):
            async with asyncio.timeout(QUIET_SECONDS):
                await self.reader.read(1)
                return False
        return True


class Server:
    """Takes connections, and does nothing with them by itself."""

    def __init__(self) -> None:
        self.port = free_port()
        self.accepted: asyncio.Queue[Peer] = asyncio.Queue()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted.put_nowait(Peer(reader, writer))

    async def peer(self) -> Peer:
        async with asyncio.timeout(WAIT_SECONDS):
            return await self.accepted.get()


@dataclass
class Pair:
    link: Link
    server: Server

    async def client(self) -> Peer:
        return Peer(*await asyncio.open_connection("127.0.0.1", self.link.port))

    async def both(self) -> tuple[Peer, Peer]:
        client = await self.client()
        return client, await self.server.peer()

    async def until_closed(self) -> None:
        await wait_until("the link has no connection", lambda: self.link.connections == 0)


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    server = Server()
    listener = await asyncio.start_server(server.accept, "127.0.0.1", server.port)
    async with Link(f"http://127.0.0.1:{server.port}") as link:
        yield Pair(link, server)
    listener.close()


async def test_bytes_pass_in_both_directions_and_each_has_its_own_end(pair: Pair) -> None:
    client, server = await pair.both()
    await client.send(b"question")
    client.writer.write_eof()
    assert await server.end() == b"question"
    await server.send(b"answer")
    server.writer.close()
    assert await client.end() == b"answer"
    client.writer.close()
    await pair.until_closed()


async def test_a_client_that_closes_is_gone_for_the_server(pair: Pair) -> None:
    client, server = await pair.both()
    client.writer.close()
    assert await server.end() == b""
    server.writer.close()
    await pair.until_closed()


async def test_delayed_chunks_come_late_and_in_order(pair: Pair) -> None:
    client, server = await pair.both()
    delays = iter([0.3, 0.0, 0.2, 0.0])
    with pair.link.delaying(lambda: next(delays, 0.0)):
        sent_at = time.monotonic()
        for number in range(4):
            await client.send(bytes([number]))
            await asyncio.sleep(0.02)
        assert await server.get(4) == bytes(range(4))
        assert time.monotonic() - sent_at >= 0.3
        assert next(delays, None) is None
        delays = iter([3600.0])
    await client.send(b"x")
    assert await server.get(1) == b"x"


async def test_the_end_comes_no_earlier_than_what_was_sent_before_it(pair: Pair) -> None:
    client, server = await pair.both()
    with pair.link.delaying(lambda: 0.1):
        await client.send(b"last words")
        client.writer.close()
        assert await server.end() == b"last words"


@pytest.mark.parametrize("held", Direction)
async def test_a_half_open_link_passes_one_direction(pair: Pair, held: Direction) -> None:
    client, server = await pair.both()
    mute, heard = (client, server) if held is Direction.UP else (server, client)
    with pair.link.holding(held):
        await mute.send(b"mute")
        await heard.send(b"heard")
        assert await mute.get(5) == b"heard"
        assert await heard.hears_nothing()
    assert await heard.get(4) == b"mute"


async def test_what_went_into_a_black_hole_comes_late_and_whole(pair: Pair) -> None:
    client, server = await pair.both()
    with pair.link.holding():
        await client.send(b"a")
        await server.send(b"b")
        assert await server.hears_nothing()
        assert await client.hears_nothing()
        await client.send(BLOCK)
        client.writer.close()
        assert await server.hears_nothing(), "it heard that the client has closed"
    assert await server.end() == b"a" + BLOCK


async def test_a_black_hole_takes_new_connections_of_which_the_server_hears_late(pair: Pair) -> None:
    with pair.link.holding():
        client = await pair.client()
        await client.send(b"hello")
        assert await client.hears_nothing()
        assert pair.server.accepted.empty()
    assert await (await pair.server.peer()).get(5) == b"hello"


async def test_what_is_on_its_way_when_a_black_hole_opens_waits_too(pair: Pair) -> None:
    client, server = await pair.both()
    delayed = asyncio.Event()

    def delay_seconds() -> float:
        delayed.set()
        return 1.0

    with pair.link.delaying(delay_seconds):
        await client.send(b"on its way")
        await delayed.wait()
    with pair.link.holding():
        await asyncio.sleep(1.0)
        assert await server.hears_nothing()
    assert await server.get(10) == b"on its way"


@pytest.mark.parametrize("is_held", [False, True], ids=["open", "held"])
async def test_a_cut_resets_both_sides_and_new_connections_are_taken(pair: Pair, is_held: bool) -> None:
    client, server = await pair.both()
    if is_held:
        pair.link.hold()
        await client.send(b"lost")
    pair.link.cut()
    pair.link.release()
    for peer in (client, server):
        with pytest.raises(ConnectionResetError):
            await peer.end()
    client, server = await pair.both()
    await client.send(b"again")
    assert await server.get(5) == b"again"


async def test_a_connection_that_is_cut_before_the_server_has_heard_of_it_is_reset(pair: Pair) -> None:
    pair.link.hold()
    client = await pair.client()
    await wait_until("the link has it", lambda: pair.link.connections == 1)
    pair.link.cut()
    pair.link.release()
    with pytest.raises(ConnectionResetError):
        await client.end()
    assert pair.server.accepted.empty()
    await pair.until_closed()


async def test_a_link_that_refuses_is_found_at_the_same_port_afterwards(pair: Pair) -> None:
    client, _ = await pair.both()
    async with pair.link.refusing():
        with pytest.raises(ConnectionResetError):
            await client.end()
        with pytest.raises(ConnectionRefusedError):
            await pair.client()
    client, server = await pair.both()
    await server.send(b"back")
    assert await client.get(4) == b"back"


async def test_a_server_that_is_not_there_resets_the_client() -> None:
    async with Link(f"http://127.0.0.1:{free_port()}") as link:
        reader, _ = await asyncio.open_connection("127.0.0.1", link.port)
        with pytest.raises(ConnectionResetError):
            await reader.read()
        await wait_until("the link has no connection", lambda: link.connections == 0)


async def test_a_reset_that_was_held_reaches_the_server_after_its_own_end(pair: Pair) -> None:
    client, server = await pair.both()
    with pair.link.holding(Direction.UP):
        sock = client.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        client.writer.close()
        await client.writer.wait_closed()
        server.writer.write_eof()
        assert await server.hears_nothing()
    with pytest.raises(ConnectionResetError):
        await server.end()
    await pair.until_closed()


async def test_a_receiver_that_does_not_read_holds_the_sender_and_loses_nothing(pair: Pair) -> None:
    client, server = await pair.both()
    sent = 0

    async def send() -> None:
        nonlocal sent
        for _ in range(BLOCKS):
            await client.send(BLOCK)
            sent += 1

    sending = asyncio.create_task(send())
    before = -1
    while before < sent:
        before = sent
        await asyncio.sleep(QUIET_SECONDS)
    assert sent < BLOCKS, "nothing holds the sender"
    for _ in range(BLOCKS):
        assert await server.get(len(BLOCK)) == BLOCK
    await sending


@pytest.mark.parametrize(
    ("server_url", "address"),
    [
        ("redis://:secret@127.0.0.1:7000/3", "redis://:secret@127.0.0.1:{}/3"),
        ("postgresql://me:secret@localhost/db?a=b", "postgresql://me:secret@127.0.0.1:{}/db?a=b"),
        ("postgresql://me@/db?host=/run/postgresql", "postgresql://me@127.0.0.1:{}/db"),
    ],
)
async def test_its_url_is_the_servers_at_another_address(server_url: str, address: str) -> None:
    link = Link(server_url)
    assert link.url == address.format(link.port)
