"""Every statement on tables that have grown: on an index, and with work that does not grow with them.

Counted, never timed: the tables that PostgreSQL reads from end to end, in the plan itself or in a function or trigger
that it calls, and the pages that it looks at. Each with the parameters in hand and without, as both happen.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

import psycopg
import pytest

from bench.postgres.dataset import Size, fill
from bench.postgres.query_plans import PlanMode, work
from bench.postgres.statements import Case, cases, found
from tests.support.services.databases import Databases

SIZE = Size(runs=20_000, long_items=5_000, long_runs=3_000, active=50)

PAGES = 100
"""Of 8 KiB, looked at by a statement that is not named below. Most need 3 to 25."""

PAGES_OF: dict[str, int] = {
    # the reaper's, of up to 500 rows
    "reaper.sweeps.OLD_RUNS": 4_000,
    "reaper.sweeps.DELETE_RUNS": 5_000,
    "reaper.sweeps.OLD_THREADS": 2_500,
    "reaper.sweeps.LOCK_OLD_THREADS": 1_500,
    "reaper.sweeps.DELETE_THREADS": 5_000,
    "attachments.store._DELETE_UNSENT": 1_000,
    "attachments.store._FORGET_UNSENT": 1_000,
    # of 100 runs, each looked for by its id, behind the 150 that go on
    "shared.gone_runs.DUE": 1_000,
    "shared.gone_runs.FORGET": 850,
    # as much as the thread or the user has
    "operating.thread_reading.SHOWN": 350,
    "operating.thread_reading.RUNS_OF_THREAD": 200,
    "operating.erasure.RUN_IDS_OF_THREAD": 200,
    "operating.erasure.COUNT_THREAD": 350,
    "operating.erasure.END_OF_USER": 450,
    "operating.erasure.ERASE_UNSENT": 450,
    # 100 runs
    "operating.erasure.NOTE_GONE_RUNS": 950,
    # as many as wait: 50, each looked for in two small indexes
    "reaper.sweeps.STRANDED": 220,
    # as many as are asked for: 100
    "threads.statements.HAS_ITEMS": 400,
    # as many runs as the thread has
    "admission.admission_rows.NEWEST": 200,
    "operating.run_lists.BY_THREAD": 200,
    # as many as have not ended: 150
    "operating.queue_figures.BUSIEST": 300,
    # as many as the caller has created and not sent
    "attachments.store._CREATE": 300,
    # as many as the thread has: an import compares all of it, and counts it
    "thread_import.rows.COUNT": 350,
    "thread_import.rows.NOTE": 370,
    "thread_import.rows.STATE": 360,
    # one for each item of the thread that an import locks, and writes
    "thread_import.rows.LOCK_ITEMS": 5_400,
    # as many as the thread has: a next attempt looks through its runs and items
    "execution.attempt_rows.LATER_INPUTS": 300,
    # as many as the thread has: a page that loads it asks once
    "api.thread_marks.RUNS": 200,
    "api.thread_marks.ITEMS": 400,
    "api.thread_marks.SET_FEEDBACK": 400,
    "threads.undo_statements.DELETE_ADDED": 600,
    "threads.undo_statements.DELETE_CHANGED": 600,
}
"""By statement or case: a little above what it is today."""


ONE_ROW = frozenset({"redis_reached"})
"""Tables that never have more than one row."""
PLANNED_EACH_TIME = ("operating.run_lists.BY_",)
"""How the names of those begin whose plans are always made with the parameters in hand: see PLAN_EACH there."""


@pytest.fixture(scope="module")
def database(databases: Databases) -> Iterator[psycopg.Connection[Any]]:
    with databases.fresh() as url:
        fill(url, SIZE)
        with psycopg.connect(url, autocommit=True) as connection:
            yield connection


def test_no_statement_is_forgotten() -> None:
    """A new one needs a case in bench/postgres/statements.py."""
    assert found().keys() == {case.name for case in cases(SIZE)}


def executions() -> Iterator[Any]:
    """Each case in each mode in which it may be executed."""
    for case in cases(SIZE):
        for mode in get_args(PlanMode):
            if mode == "force_custom_plan" or not case.name.startswith(PLANNED_EACH_TIME):
                yield pytest.param(case, mode, id=f"{case.title}-{mode}")


@pytest.mark.parametrize(("case", "mode"), list(executions()))
def test_it_stays_on_an_index_and_small(
    database: psycopg.Connection[Any], case: Case, mode: PlanMode
) -> None:
    work(database, case, mode)  # a function is planned at its first call, from the catalog's pages
    done = work(database, case, mode)
    read_whole = done.read_whole - ONE_ROW
    assert not read_whole, f"{case.title} reads whole tables: {read_whole} {done.plan}"
    bound = PAGES_OF.get(case.title, PAGES_OF.get(case.name, PAGES))
    assert done.pages <= bound, f"{case.title} looks at {done.pages} pages instead of {bound}: {done.plan}"


def test_a_statement_without_an_index_would_be_seen(
    database: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the statement itself, and in a function that it calls."""
    unindexed = "SELECT count(*) FROM runs WHERE kind = $1"
    monkeypatch.setattr(Case, "sql", unindexed)
    assert work(database, Case("", ("x",)), "force_generic_plan").read_whole == {"runs"}
    database.execute(
        f"CREATE FUNCTION count_kind(text) RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RETURN ({unindexed}); END $$"
    )
    monkeypatch.setattr(Case, "sql", "SELECT count_kind($1)")
    assert work(database, Case("", ("x",)), "force_generic_plan").read_whole == {"runs"}
