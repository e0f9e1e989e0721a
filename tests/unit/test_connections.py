"""The tables of waits and their one timer, without sockets."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

from relaykit.api.http.connections import BATCH, LINGER_SECONDS, MAX_PAUSE_SECONDS, Connections
from relaykit.api.http.server import FRESH_SECONDS
from tests.support.system import make_settings

HEAD_SECONDS, STALL_SECONDS, RATE = 10, 60, 1024
KEEP_ALIVE_SECONDS, PING_SECONDS = 7, 15


@dataclass(eq=False)
class Recorded:
    """A connection that writes down how it was told to end."""

    connections: Connections
    received_bytes: int = 0
    unsent_bytes: int = 0
    waits_for_body: bool = True
    told: list[str] = field(default_factory=list)

    def head_is_late(self) -> None:
        self.told.append("head")

    def body_is_late(self) -> None:
        self.told.append("body")

    def close_idle(self) -> None:
        self.told.append("idle")

    def drop(self) -> None:
        self.told.append("drop")
        self.connections.leave(self, counted=True)


def connections(limit: int = 10) -> Connections:
    given = {
        "head_seconds": HEAD_SECONDS,
        "stall_seconds": STALL_SECONDS,
        "body_bytes_per_second": RATE,
        "keep_alive_seconds": KEEP_ALIVE_SECONDS,
        "ping_seconds": PING_SECONDS,
    }
    return Connections(make_settings("redis://a", "postgresql://a/a", Path("key"), 1, **given), limit)


async def pass_time(table: Connections, seconds: float) -> None:
    for _ in range(int(seconds)):
        table.clock += 1
        await table.look(1.0)


async def test_each_wait_ends_at_its_own_time() -> None:
    table = connections()
    head, idle, lingering = (Recorded(table) for _ in range(3))
    table.wait_for_head(head)
    table.wait_for_request(idle)
    table.linger(lingering, counted=True)
    await pass_time(table, min(KEEP_ALIVE_SECONDS, LINGER_SECONDS, HEAD_SECONDS) - 1)
    assert [head.told, idle.told, lingering.told] == [[], [], []]
    await pass_time(table, HEAD_SECONDS)
    assert [head.told, idle.told, lingering.told] == [["head"], ["idle"], ["drop"]]


async def test_asking_again_for_a_head_that_is_awaited_gives_no_time() -> None:
    table, head = connections(), None
    head = Recorded(table)
    for _ in range(HEAD_SECONDS):
        table.wait_for_head(head)
        await pass_time(table, 1)
    assert head.told == ["head"]


async def test_a_connection_is_fresh_for_its_time_wherever_the_clock_stands() -> None:
    """The clock ticks: a connection that is accepted right before its next tick is not old right after."""
    table = connections()
    assert not table.are_fresh(FRESH_SECONDS)
    head = Recorded(table)
    table.wait_for_head(head)
    assert table.are_fresh(FRESH_SECONDS)
    table.clock += MAX_PAUSE_SECONDS
    assert table.are_fresh(FRESH_SECONDS)
    table.clock += FRESH_SECONDS
    assert not table.are_fresh(FRESH_SECONDS)
    table.wait_for_head(Recorded(table))
    assert table.are_fresh(FRESH_SECONDS)
    table.wait_for_nothing(next(reversed(table.heads)))
    assert not table.are_fresh(FRESH_SECONDS), "it has sent its head"


async def test_a_body_is_late_by_its_average() -> None:
    table = connections()
    fast, slow = Recorded(table), Recorded(table, received_bytes=3 * RATE)
    table.bodies[fast] = table.bodies[slow] = 0.0
    for _ in range(HEAD_SECONDS + 3):
        fast.received_bytes += RATE
        await pass_time(table, 1)
    assert (fast.told, slow.told) == ([], [])
    fast.received_bytes += RATE
    await pass_time(table, 1)
    assert (fast.told, slow.told) == ([], ["body"])


async def test_the_time_for_which_the_api_does_not_read_is_not_the_clients() -> None:
    table = connections()
    body = Recorded(table, waits_for_body=False)
    table.bodies[body] = 0.0
    await pass_time(table, 10 * HEAD_SECONDS)
    assert body.told == []
    body.waits_for_body = True
    await pass_time(table, HEAD_SECONDS + 1)
    assert body.told[0] == "body"


async def test_an_answer_is_stalled_where_too_little_of_it_is_taken() -> None:
    table = connections()
    reading, trickling = (Recorded(table, unsent_bytes=10**6) for _ in range(2))
    for connection in (reading, trickling):
        table.unsent[connection] = (table.clock, connection.unsent_bytes)
    for _ in range(STALL_SECONDS):
        reading.unsent_bytes -= RATE
        trickling.unsent_bytes -= 1
        await pass_time(table, 1)
    assert (reading.told, trickling.told) == ([], ["drop"])
    await pass_time(table, STALL_SECONDS)
    assert reading.told == ["drop"]


async def test_a_client_that_still_takes_its_last_answer_is_not_cut_while_it_lingers() -> None:
    table = connections()
    connection = Recorded(table, unsent_bytes=10**6)
    table.unsent[connection] = (table.clock, connection.unsent_bytes)
    table.linger(connection, counted=True)
    await pass_time(table, 3 * LINGER_SECONDS)
    assert connection.told == []
    table.unsent.pop(connection)
    await pass_time(table, LINGER_SECONDS)
    assert connection.told == ["drop"]


def test_the_least_missed_is_given_up_for_a_newcomer() -> None:
    """One that lingers, then one that is idle, then one without a head, the oldest first; never one that works."""
    table = connections(limit=5)
    working, old_head, head, idle, lingering = (Recorded(table) for _ in range(5))
    assert all(table.accept() for _ in range(5))
    table.wait_for_head(old_head)
    table.wait_for_head(head)
    table.wait_for_request(idle)
    table.linger(lingering, counted=True)
    for expected in (lingering, idle, old_head, head):
        assert table.accept()
        assert expected.told == ["drop"]
        assert table.count == 5
    assert not table.accept()
    assert (working.told, table.count) == ([], 5)


@dataclass(eq=False)
class RecordedSocket:
    connections: Connections
    unsent_bytes: int = 0
    pings: int = 0

    def ping_is_due(self) -> None:
        self.pings += 1
        self.connections.wait_for_ping(self)

    told: list[str] = field(default_factory=list)

    def drop(self) -> None:
        assert self in self.connections.left, "one with a client is never dropped for another one"
        self.told.append("drop")
        self.connections.leave_socket(self, counted=True)


async def test_a_socket_is_pinged_at_its_time_and_never_given_up_for_a_newcomer() -> None:
    table = connections(limit=1)
    socket = RecordedSocket(table)
    assert table.accept()
    table.wait_for_ping(socket)
    await pass_time(table, PING_SECONDS - 1)
    assert socket.pings == 0
    await pass_time(table, 3 * PING_SECONDS + 1)
    assert socket.pings == 4
    assert not table.accept()
    table.leave_socket(socket, counted=True)
    table.leave_socket(socket, counted=False)
    assert (table.count, table.sockets) == (0, {})
    assert table.accept()


async def test_a_socket_whose_client_has_gone_keeps_its_place_until_a_newcomer_needs_it() -> None:
    table = connections(limit=3)
    head, old, new = Recorded(table), RecordedSocket(table), RecordedSocket(table)
    assert all(table.accept() for _ in range(3))
    table.wait_for_head(head)
    for socket in (old, new):
        table.wait_for_ping(socket)
        table.unsent[socket] = (table.clock, 1)
        table.client_has_gone(socket)
    assert (table.count, table.sockets, table.unsent) == (3, {}, {})
    for expected in (old, new, head):
        assert expected.told == []
        assert table.accept()
        assert expected.told == ["drop"]
        assert table.count == 3
    assert not table.left
    assert not table.accept()


async def test_a_stalled_one_that_goes_while_others_are_closed_is_not_dropped() -> None:
    """Its application may be storing something, and would be cancelled."""
    table = connections(limit=BATCH + 1)
    going = RecordedSocket(table)
    others = [Recorded(table) for _ in range(BATCH)]
    assert all(table.accept() for _ in range(BATCH + 1))
    for each in (*others, going):
        table.unsent[each] = (table.clock, 0)
    table.clock += STALL_SECONDS
    looking = asyncio.create_task(table.look(1.0))
    while others[-1].told != ["drop"]:
        await asyncio.sleep(0)
    table.client_has_gone(going)
    await looking
    assert going.told == []
