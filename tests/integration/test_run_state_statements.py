"""Every statement that writes `runs.status`, held against the one table of transitions.

Each is executed on a run in each state, in a real database. So a state that is added, a transition that goes, and a
statement whose own list of states differs from the table all fail here.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from bench.postgres.statements import MODULES, Parameter, found, literals
from relaykit.shared.runs.run import ENDED, MAX_UNCOUNTED_ATTEMPTS, TRANSITIONS, Status, sources
from tests.support.repository.documents import ROOT
from tests.support.repository.sql_functions import FUNCTIONS, normalized

Moves = frozenset[tuple[Status, Status]]

RUN, OWNER, THREAD = "run_1", ("", "alice"), "thr_1"
TABLE: Moves = frozenset((source, target) for source, targets in TRANSITIONS.items() for target in targets)
ACTIVE = frozenset({Status.QUEUED, Status.RUNNING})
"""A thread has one active run; the others wait or have ended."""
NEW: tuple[Parameter, ...] = ("run_new", *OWNER, THREAD, "threads.add_user_message", "{}", "{}", None)
ADMISSION: tuple[Parameter, ...] = (*NEW, "msg_new", None, "\\x01", None, "true", 0)

_NAME = re.compile(r"(\w+)\(")
_UPDATE = re.compile(r"\bUPDATE runs SET (.*?) WHERE\b")
_INSERT = re.compile(r"\bINSERT INTO runs\b")
_STATUS_SET = re.compile(r"(?:^|, )status = ")
_STATES = re.compile(r"\bstatus (?:NOT )?IN \(([^)]*)\)")
_STATE = re.compile(r"\b_?status (?:=|<>|:=|text :=) '(\w+)'")


def into(target: Status) -> Moves:
    """All transitions of the table that lead there."""
    return frozenset((source, target) for source, to in TABLE if to is target)


@dataclass(frozen=True, slots=True)
class Case:
    """A statement by the name of its constant, with the moves that it makes of a run of each state."""

    name: str
    parameters: tuple[Parameter, ...]
    moves: Moves
    admitted: frozenset[Status] = frozenset()
    """The states of the runs that it inserts."""
    attempt: int = 1
    """Of the run before it."""

    @property
    def sql(self) -> str:
        (statement,) = [text for name, text in found().items() if name.rpartition(".")[2] == self.name]
        return statement


def _ends(status: Status) -> list[Case]:
    end = (status.value, None, sources(status))
    return [
        Case("FINISH", (RUN, 1, *end), into(status)),
        Case("FINISH_ALONE", (RUN, *OWNER, THREAD, 1, *end), into(status) - {(Status.WAITING, status)}),
        Case("FINISH_AWAITING", (RUN, 1, *end, "msg_1", 300), into(status)),
    ]


CASES = [
    Case(
        "START",
        (RUN, sources(Status.RUNNING), "false", MAX_UNCOUNTED_ATTEMPTS, str(uuid4())),
        into(Status.RUNNING),
    ),
    *(case for status in sorted(ENDED) for case in _ends(status)),
    Case("PROMOTE", (*OWNER, THREAD), into(Status.QUEUED) - {(Status.RUNNING, Status.QUEUED)}),
    Case("HAND_BACK", (RUN, 1), into(Status.QUEUED) - {(Status.WAITING, Status.QUEUED)}),
    # a running run is stopped by its worker, which sees the stop
    Case("REQUEST_CANCEL", (RUN,), into(Status.CANCELLED) - {(Status.RUNNING, Status.CANCELLED)}),
    # so is one that has begun, and which a worker has handed back
    Case("CANCEL", (RUN,), into(Status.CANCELLED) - {(Status.RUNNING, Status.CANCELLED)}, attempt=0),
    Case("CANCEL", (RUN,), frozenset()),
    # an erasure ends what goes on, whatever it is: its attempt is the fence
    Case("END_OF_THREAD", (*OWNER, THREAD), into(Status.CANCELLED)),
    Case("END_OF_USER", OWNER, into(Status.CANCELLED)),
    Case("ADMIT", ADMISSION, frozenset(), frozenset({Status.QUEUED, Status.WAITING})),
    Case(
        "ADMIT_MESSAGE",
        (*ADMISSION, None, "{}", 0),
        frozenset(),
        frozenset({Status.QUEUED, Status.WAITING}),
    ),
]


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.mark.parametrize(
    "case", CASES, ids=lambda case: f"{case.name}-{'-'.join(sorted({to for _, to in case.moves}))}"
)
def test_a_statement_makes_the_moves_of_the_table_and_no_others(
    connection: psycopg.Connection[Any], case: Case
) -> None:
    moved, admitted = set(), set()
    for before in Status:
        with connection.transaction(force_rollback=True):
            insert_run(connection, before, case.attempt)
            started = status_and_attempt(connection, RUN)
            execute(connection, case)
            ended = status_and_attempt(connection, RUN)
            if ended != started:
                moved.add((before, ended[0]))
            if (new := status_and_attempt(connection, "run_new"))[0] is not None:
                admitted.add(new[0])
    assert moved == case.moves
    assert moved <= TABLE
    assert admitted == case.admitted


def test_the_statements_together_make_every_move_of_the_table() -> None:
    assert frozenset().union(*(case.moves for case in CASES)) == TABLE


def test_every_statement_that_writes_a_status_has_its_case() -> None:
    writing = {name.rpartition(".")[2] for name, text in found().items() if writes_status(text)}
    assert writing == {case.name for case in CASES}


def test_no_other_file_of_the_product_writes_runs() -> None:
    listed = {real_path(module) for module in MODULES}
    files = [file for side in ("api", "worker", "shared") for file in (ROOT / side).rglob("*.py")]
    assert [file for file in files if file not in listed and writes_runs(file)] == []


@pytest.mark.parametrize(
    ("statement", "writes"),
    [
        ("UPDATE runs SET status = 'queued' WHERE id = $1", True),
        ("UPDATE runs\n SET error = $2, -- why\n status = $3\nWHERE id = $1", True),
        ("INSERT INTO runs (id) VALUES ($1)", True),
        ("SELECT finish_run($1)", True),
        ("SELECT admit_message($1)", True),
        ("UPDATE runs SET error = $2 WHERE status = 'queued'", False),
        ("SELECT create_attachment($1)", False),
    ],
)
def test_a_statement_that_writes_a_status_is_found(statement: str, writes: bool) -> None:
    assert writes_status(statement) == writes


def test_states_are_spelt_as_in_the_table_and_listed_in_three_ways() -> None:
    """A state that is added belongs to the active ones, to those that wait, or to those that have ended."""
    assert ACTIVE | {Status.WAITING} | ENDED == frozenset(Status)
    known = {ACTIVE, frozenset(Status) - ENDED, ENDED}
    texts = {**found(), **{file.stem: file.read_text() for file in FUNCTIONS.glob("*.sql")}}
    for name, text in texts.items():
        for listed in _STATES.findall(normalized(text)):
            assert frozenset(re.findall(r"'(\w+)'", listed)) in known, (name, listed)
        for state in _STATE.findall(normalized(text)):
            assert state in list(Status), (name, state)


def insert_run(connection: psycopg.Connection[Any], status: Status, attempt: int = 1) -> None:
    connection.execute(
        "INSERT INTO threads (id, tenant, owner, data) VALUES (%s, %s, %s, '{}')", [THREAD, *OWNER]
    )
    connection.execute(
        "INSERT INTO runs (id, tenant, owner, thread_id, kind, input, context, status, attempt)"
        " VALUES (%s, %s, %s, %s, 'threads.add_user_message', '{}', '{}', %s, %s)",
        [RUN, *OWNER, THREAD, status.value, attempt],
    )


def execute(connection: psycopg.Connection[Any], case: Case) -> None:
    """As the product does: with parameters whose types the statement gives."""
    connection.execute(f"PREPARE tried AS {case.sql}")  # type: ignore[call-overload]
    connection.execute(f"EXECUTE tried ({literals(case.parameters)})")  # type: ignore[call-overload]
    connection.execute("DEALLOCATE tried")


def status_and_attempt(connection: psycopg.Connection[Any], run_id: str) -> tuple[Status | None, int]:
    row = connection.execute("SELECT status, attempt FROM runs WHERE id = %s", [run_id]).fetchone()
    return (None, 0) if row is None else (Status(row[0]), row[1])


def writes_status(statement: str) -> bool:
    """In the statement, or in a function of the schema that it calls."""
    text = normalized(statement)
    if _INSERT.search(text) or any(_STATUS_SET.search(assigned) for assigned in _UPDATE.findall(text)):
        return True
    called = (FUNCTIONS / f"{name}.sql" for name in set(_NAME.findall(text)))
    return any(writes_status(body(file)) for file in called if file.exists())


def body(file: Path) -> str:
    """Without the function's own name, which is no call."""
    return file.read_text().partition("AS $$")[2]


def writes_runs(file: Path) -> bool:
    return any(re.search(r"\b(UPDATE|INSERT INTO) runs\b", text) for text in strings(file))


def strings(file: Path) -> Iterable[str]:
    nodes = ast.walk(ast.parse(file.read_text()))
    return [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]


def real_path(module: ModuleType) -> Path:
    assert module.__file__ is not None
    return Path(module.__file__).resolve()
