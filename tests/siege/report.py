"""The outcome of a siege as a table: one row for each attack, below it the answers and what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tests.siege.phase import Memory, Phase, Waits

COLUMNS = (
    ("attack", 14),
    ("sent MB", 8),
    ("requests", 9),
    ("connections", 12),
    ("/healthz ms", 11),
    ("delta ms", 11),
    ("first ms", 11),
    ("driver ms", 9),
    ("API MB", 11),
    ("worker MB", 11),
    ("Redis MB", 10),
    ("runs", 5),
    ("", 5),
)


def heading() -> str:
    return _row([name for name, _ in COLUMNS])


def baseline_lines(phase: Phase, failed: list[str]) -> Iterator[str]:
    """The median and the longest wait of the time without an attack."""
    yield from _lines(phase, lambda waits: f"{waits.median:.0f} / {waits.longest:.0f}", failed)


def attack_lines(phase: Phase, failed: list[str]) -> Iterator[str]:
    """The longest waits, the peaks of memory, the answers and the verdict."""
    yield from _lines(phase, lambda waits: f"{waits.longest:.0f}", failed)


def _lines(phase: Phase, shown: Callable[[Waits], str], failed: list[str]) -> Iterator[str]:
    yield _row([*_cells(phase, shown), "FAIL" if failed else "PASS"])
    given = [f"{answer} x{count}" for answer, count in phase.sent.answers.most_common() if count]
    if given:
        yield f"    answers: {', '.join(given)}"
    yield from (f"    FAIL {why}" for why in failed)


def _cells(phase: Phase, shown: Callable[[Waits], str]) -> list[str]:
    sent = phase.sent
    workers = [memory for name, memory in phase.memory.items() if name.startswith("worker")]
    api = next((memory for name, memory in phase.memory.items() if name.startswith("api")), Memory(0, 0))
    worker = max(workers, key=lambda memory: memory.times, default=Memory(0, 0))
    waits: list[Waits] = [phase.health, phase.delta, phase.first, phase.driver]
    return [
        phase.name,
        f"{sent.sent_bytes / 1e6:.1f}",
        str(sent.requests),
        str(sent.connections),
        *(shown(each) for each in waits),
        _span(api),
        _span(worker),
        _span(phase.memory.get("redis", Memory(0, 0))),
        str(phase.runs),
    ]


def _span(memory: Memory) -> str:
    return f"{memory.before:.0f} > {memory.peak:.0f}"


def _row(cells: list[str]) -> str:
    first, *rest = (
        f"{cell:<{width}}" if not number else f"{cell:>{width}}"
        for number, (cell, (_, width)) in enumerate(zip(cells, COLUMNS, strict=True))
    )
    return " ".join([first, *rest]).rstrip()
