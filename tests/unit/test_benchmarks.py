"""What a load client counts, which families run, and what the report shows: a figure is no better than these."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from bench.load.jobs import Job, Request, Seen
from bench.load.streams import run
from bench.measures import FAMILIES, asked
from bench.report import figures, soak_figures
from bench.systems.timestamps import stamp

HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


def chatkit(first: str, second: str) -> list[str]:
    return [
        'data: {"type":"thread.item.added","item":{}}\n\n',
        *(
            f'data: {{"type":"thread.item.updated","update":{{"delta":"{text}"}}}}\n\n'
            for text in (first, second)
        ),
        f'data: {{"type":"thread.item.done","item":{{"content":[{{"text":"{first}{second}"}}]}}}}\n\n',
    ]


def agno(first: str, second: str) -> list[str]:
    return [
        'event: RunStarted\ndata: {"created_at":1,"event":"RunStarted","event_index":0}\n\n',
        *(
            f'event: RunContent\ndata: {{"event":"RunContent","content":"{text}","event_index":1}}\n\n'
            for text in (first, second)
        ),
        'event: RunContentCompleted\ndata: {"created_at":1,"event":"RunContentCompleted","event_index":3}\n\n',
        f'event: RunCompleted\ndata: {{"created_at":1,"event":"RunCompleted","content":"{first}{second}"}}\n\n',
    ]


async def seen_of(events: list[str], dialect: str, *, pause: float) -> Seen:
    """What a load client sees of a response with these events."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(HEAD)
        for event in events:
            writer.write(f"{len(event):x}\r\n{event}\r\n".encode())
            await writer.drain()
            await asyncio.sleep(pause)
        writer.write(END)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        (seen,) = [seen async for seen in run(Job([Request(f"http://127.0.0.1:{port}/")], dialect=dialect))]
    return seen


@pytest.mark.parametrize(("dialect", "events"), [("chatkit", chatkit), ("agno", agno)])
@pytest.mark.parametrize("pause", [0.0, 0.02])
async def test_a_load_client_counts_each_delta_once(dialect: str, events: Any, pause: float) -> None:
    began_at = time.monotonic()
    seen = await seen_of(events(stamp(), stamp()), dialect, pause=pause)
    elapsed = (time.monotonic() - began_at) * 1_000
    assert (seen.deltas, seen.failed) == (2, 0)
    assert [len(times) for times in (seen.first_event, seen.first_delta, seen.whole)] == [1, 1, 1]
    assert all(0 <= late <= elapsed for late in seen.late)


def test_peers_run_only_when_they_are_asked_for() -> None:
    assert "peers" not in asked("", peers=False)
    assert asked("", peers=True) == list(FAMILIES)
    assert asked("peers, latency", peers=False) == ["latency", "peers"]
    assert asked("latency", peers=True) == ["latency"]


def test_the_report_has_a_section_of_peers_only_with_their_figures() -> None:
    one = {
        "measure": "latency.first_event",
        "value": 1.0,
        "unit": "ms",
        "baseline": 2.0,
        "against": "in-process",
        "ratio": 0.5,
        "goal": None,
        "met": None,
        "p50": None,
        "p99": None,
        "spread": None,
        "note": "",
        "measured_at": "2026-01-01T00:00:00+00:00",
        "machine": "a machine",
        "quick": False,
    }
    title = "### Beside Agno's queue mode"
    assert title not in figures([one])
    assert title in figures([one, {**one, "measure": "peers.first_delta"}])


def test_the_report_shows_each_quarter_of_a_soak_and_what_grew() -> None:
    names = (
        "runs",
        "api_mb",
        "worker_mb",
        "redis_mb",
        "redis_keys",
        "api_files",
        "worker_files",
        "p50_ms",
        "p99_ms",
    )
    minutes = [dict.fromkeys(names, number) for number in range(1, 10)]
    soak = {
        "measured_at": "2026-01-01T00:00:00+00:00",
        "machine": "a machine",
        "minutes": minutes,
        "growth": {"api_mb": 1.5},
    }
    shown = "\n".join(soak_figures(soak))
    rows = [line.split(" | ")[:3] for line in shown.splitlines() if line.startswith("| after")]
    assert rows == [[f"| after {number}", str(number), str(number)] for number in (1, 2, 4, 6, 8)]
    assert "| **last quarter to second** | - | 1.50x | - |" in shown
    assert soak_figures(None) == []
