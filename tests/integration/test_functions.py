"""shared/postgres/functions/ is the source of the schema's functions: a database has these and no others."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from relaykit.shared.postgres.locks import IN_FUNCTIONS, THREAD_LOCK
from tests.support.repository.sql_functions import FUNCTIONS, described, migrated, normalized
from tests.support.services.databases import Databases

FILES = sorted(FUNCTIONS.glob("*.sql"))
_LOCK = re.compile(r"pg_advisory_xact_lock\(\s?hashtextextended\(\s?(.*?), 0\s?\)\s?\)")
"""On a text whose spaces are normalized."""


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


def test_the_migrations_make_exactly_the_functions_that_the_files_describe(
    connection: psycopg.Connection[Any],
) -> None:
    """A function without a file, a file without a function, and a difference but in comments each fail."""
    files = described(connection, FILES)
    assert [name for name, functions in files.items() if [name] != [name for name, _ in functions]] == []
    assert dict(migrated(connection)) == {name: functions[0][1] for name, functions in files.items()}
    assert len(migrated(connection)) == len(files), "a function has two signatures"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_file_says_first_what_its_function_promises(file: Path) -> None:
    text = file.read_text()
    comment, _, function = text.partition("\n\n")
    assert comment.startswith("-- ")
    assert all(line.startswith("--") for line in comment.splitlines())
    assert function.startswith(f"CREATE FUNCTION {file.stem}(")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("'too_many'", "'too_few'"),
        ("interval '1 minute'", "interval '1  minute'"),
        ("until_at >", "until_at <"),
        ("_caller_runs integer", "_caller_runs bigint"),
        ("RETURNS text", "RETURNS varchar"),
        ("CREATE FUNCTION admit_run(", "CREATE FUNCTION admit_run_2("),
        ("LANGUAGE plpgsql", "LANGUAGE plpgsql SECURITY DEFINER"),
    ],
)
def test_a_change_of_a_file_alone_would_be_seen(
    connection: psycopg.Connection[Any], tmp_path: Path, before: str, after: str
) -> None:
    text = (FUNCTIONS / "admit_run.sql").read_text()
    changed = tmp_path / "admit_run.sql"
    changed.write_text(text.replace(before, after))
    assert changed.read_text() != text
    ((function,),) = described(connection, [changed]).values()
    assert function not in migrated(connection)


def test_a_function_that_a_migration_adds_alone_would_be_seen(databases: Databases) -> None:
    """Not those of an extension, of which a server that is used for other things too may have some."""
    with databases.fresh() as url, psycopg.connect(url, autocommit=True) as connection:
        before = migrated(connection)
        connection.execute("CREATE EXTENSION IF NOT EXISTS plpgsql")
        assert migrated(connection) == before
        connection.execute("CREATE FUNCTION one() RETURNS integer LANGUAGE sql AS 'SELECT 1'")
        assert {name for name, _ in migrated(connection)} - {name for name, _ in before} == {"one"}


def test_comments_and_line_ends_are_no_difference_and_strings_are() -> None:
    assert normalized("SELECT 1 -- one\n  , 2") == "SELECT 1 , 2"
    assert normalized("SELECT '-- no comment', '''--'") == "SELECT '-- no comment', '''--'"


def test_each_lock_that_a_function_takes_is_in_the_list_of_locks() -> None:
    """Two that should exclude each other and differ in a letter would not."""
    sources = [normalized(file.read_text()) for file in FILES]
    taken = {text for source in sources for text in _LOCK.findall(source)}
    assert taken == set(IN_FUNCTIONS)
    assert sum(source.count("advisory") for source in sources) == sum(
        len(_LOCK.findall(each)) for each in sources
    )


def test_the_functions_take_the_threads_lock_as_statements_do() -> None:
    (of_functions,) = [text for text, what in IN_FUNCTIONS.items() if "THREAD_LOCK" in what]
    (of_statements,) = _LOCK.findall(THREAD_LOCK)
    for number, name in enumerate(("_tenant", "_owner", "_thread_id"), 1):
        of_statements = of_statements.replace(f"${number}", name)
    assert of_functions == of_statements
