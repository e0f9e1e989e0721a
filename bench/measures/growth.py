"""The statements on tables that have grown: how long they take, how many pages they look at, whether on an index.

The same database twice, the one with a hundred times the rows of the other: a thread of 100,000 items, a million runs.
What is under way is as much in both. Each statement runs on both by turns, with the worst parameters that it may get.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, get_args
from urllib.parse import urlsplit, urlunsplit

import psycopg

from bench.measures import Scale
from bench.output.results import Goal, Measure, Of, percentile, spread
from bench.postgres.dataset import Size, fill
from bench.postgres.query_plans import PlanMode, Work, work
from bench.postgres.statements import Case, cases
from bench.systems.stack import stack
from relaykit.shared.postgres.migrate import migrate

ACTIVE = 200
HOT = {
    "admission.admission_rows.ADMIT_MESSAGE": "admission",
    "admission.admission_rows.ADMIT_MESSAGE (busy thread)": "admission_behind_a_run",
    "execution.attempt_rows.START": "start",
    "runs.statements.FINISH_ALONE": "end",
    "runs.statements.ACTIVE": "active_run",
    "runs.statements.BY_ID": "run",
    "threads.statements.ITEMS_DESC": "newest_page",
    "threads.statements.ITEMS_DESC_AFTER": "page_in_the_middle",
    "threads.statements.THREADS_DESC": "threads",
    "threads.statements.WRITE_ITEM": "write_item",
    "threads.undo_statements.DELETE_ADDED": "take_back",
    "reaper.sweeps.QUEUED": "sweep_queued",
    "reaper.sweeps.RUNNING": "sweep_running",
    "reaper.sweeps.STRANDED": "sweep_stranded",
    "reaper.sweeps.OLD_RUNS (all stay)": "sweep_old_runs",
    "reaper.sweeps.OLD_THREADS": "sweep_old_threads",
}
"""By case, what it is for."""


@dataclass(slots=True)
class Done:
    """The works of one case at each size."""

    small: list[Work] = field(default_factory=list)
    large: list[Work] = field(default_factory=list)


def measure(scale: Scale) -> list[Measure]:
    small = Size(runs=scale.of(4_000, 10_000), long_items=1_000, long_runs=100, active=ACTIVE)
    large = Size(
        runs=scale.of(50_000, 1_000_000),
        long_items=scale.of(10_000, 100_000),
        long_runs=scale.of(1_000, 10_000),
        active=ACTIVE,
    )
    with stack() as services:
        url = services.services.database_url
        with _filled(url, "small", small) as few, _filled(url, "large", large) as many:
            done = _hot(few, many, small, large, rounds=scale.of(5, 30))
            whole = _read_whole(many, cases(large), _grown(few, many))
    return [
        *(_compared(HOT[title], found, small, large) for title, found in done.items()),
        Measure(
            measure="growth.statements_without_an_index",
            value=len(whole),
            unit="statements",
            goal=Goal(Of.VALUE, at_most=0),
            note=", ".join(sorted(whole))
            or f"of {len(cases(large))} cases, each planned with and without parameters",
        ),
    ]


@contextmanager
def _filled(server_url: str, name: str, size: Size) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    url = urlunsplit(urlsplit(server_url)._replace(path=f"/{name}"))
    migrate(url)
    fill(url, size)
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


def _hot(
    few: psycopg.Connection[Any], many: psycopg.Connection[Any], small: Size, large: Size, *, rounds: int
) -> dict[str, Done]:
    done = {title: Done() for title in HOT}
    pairs = [(one, other) for one, other in zip(cases(small), cases(large), strict=True) if one.title in done]
    for number in range(rounds + 1):
        for one, other in pairs:
            works = work(few, one, "force_generic_plan"), work(many, other, "force_generic_plan")
            if number:  # the first reads from disk what is then in memory
                done[one.title].small.append(works[0])
                done[one.title].large.append(works[1])
    return done


def _grown(few: psycopg.Connection[Any], many: psycopg.Connection[Any]) -> set[str]:
    """The tables that have at least twice the rows.

    One that holds what is under way may be read whole, where that is the shortest way.
    """
    before = _rows(few)
    return {table for table, rows in _rows(many).items() if rows > 2 * before[table]}


def _rows(connection: psycopg.Connection[Any]) -> dict[str, int]:
    """By table."""
    connection.execute("ANALYZE")
    tables = "SELECT relname, reltuples FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
    return {name: int(rows) for name, rows in connection.execute(tables)}


def _read_whole(connection: psycopg.Connection[Any], found: Sequence[Case], tables: Set[str]) -> set[str]:
    return {
        case.title
        for case in found
        for mode in get_args(PlanMode)
        if work(connection, case, mode).read_whole & tables
    }


def _compared(what: str, done: Done, small: Size, large: Size) -> Measure:
    few, many = _times(done.small), _times(done.large)
    pages = done.small[-1].pages, done.large[-1].pages
    value, baseline = percentile(many, 0.5), percentile(few, 0.5)
    return Measure(
        measure=f"growth.{what}",
        value=value,
        unit="ms",
        baseline=baseline,
        against=f"{small.runs:,} runs, a thread of {small.long_items:,} items",
        p50=value,
        p99=percentile(many, 0.99),
        spread=spread(many),
        note=f"{large.runs:,} runs, a thread of {large.long_items:,} items; {pages[1]} pages after {pages[0]}",
        points=[
            {"statement": what, "runs": small.runs, "ms": baseline, "pages": pages[0]},
            {"statement": what, "runs": large.runs, "ms": value, "pages": pages[1]},
        ],
    )


def _times(works: Sequence[Work]) -> list[float]:
    return [done.milliseconds for done in works]
