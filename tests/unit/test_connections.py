"""The tables of waits and their one timer, without sockets."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from relaykit.api.http.connections import LINGER_SECONDS, Connections
from tests.support.system import make_settings

HEAD_SECONDS, STALL_SECONDS, RATE = 10, 60, 1024
KEEP_ALIVE_SECONDS = 7


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
