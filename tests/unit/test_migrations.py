"""docs/migrations.md as failing tests: what a migration may do while the release before goes on working."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest

from tests import previous
from tests.support.repository.migration_rule import offences, statements

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "shared" / "postgres" / "migrations").glob("*.sql"))

EXEMPT: dict[tuple[str, str], str] = {
    (
        "0010_awaited_calls",
        "replace",
    ): "the release before has no function admit_run; its callers get the same answers",
}
"""By migration and rule: why it is safe there, say `drop` of what nothing has used since the release before."""


@pytest.mark.parametrize("file", FILES[1:], ids=lambda file: file.stem)
def test_the_release_before_goes_on_working(file: Path) -> None:
    """The first file made the schema, and nothing was running."""
    found = [offence for offence in offences(file.read_text()) if (file.stem, offence.rule) not in EXEMPT]
    assert not found, "\n".join(map(str, found))


def test_an_exemption_is_needed() -> None:
    needed = {(file.stem, offence.rule) for file in FILES[1:] for offence in offences(file.read_text())}
    assert EXEMPT.keys() <= needed


def test_what_was_released_is_not_edited() -> None:
    """A database that has it would not get the change."""
    for file in sorted(previous.MIGRATIONS.glob("*.sql")):
        assert (ROOT / "shared" / "postgres" / "migrations" / file.name).read_text() == file.read_text()


def test_each_migration_comes_after_the_one_before() -> None:
    for before, file in pairwise(FILES):
        assert f"-- depends: {before.stem}\n" in file.read_text(), file.name


def test_the_code_names_the_columns_that_it_takes() -> None:
    """A plan that is kept fails inside a transaction once its result has got another column."""
    found = [
        file.relative_to(ROOT)
        for side in ("api", "shared", "worker")
        for file in (ROOT / side).rglob("*.py")
        if re.search(r"\b(SELECT|RETURNING)\s+(\w+\.)?\*", file.read_text())
    ]
    assert found == []


@pytest.mark.parametrize(
    ("statement", "rule"),
    [
        ("DROP TABLE items;", "drop"),
        ("ALTER TABLE runs DROP COLUMN error;", "drop"),
        ("ALTER TABLE runs DROP error;", "drop"),
        ("ALTER TABLE runs ALTER COLUMN handed_back DROP DEFAULT;", "drop"),
        ("DROP FUNCTION admit_run;", "drop"),
        ("DROP INDEX runs_ended;", "drop"),
        ("ALTER TABLE runs RENAME COLUMN error TO failure;", "rename"),
        ("ALTER TABLE runs RENAME TO jobs;", "rename"),
        ("ALTER TABLE runs ALTER COLUMN attempt TYPE bigint;", "type"),
        ("ALTER TABLE runs ALTER attempt SET DATA TYPE bigint;", "type"),
        ("ALTER TABLE runs ALTER COLUMN error SET NOT NULL;", "not null"),
        ("ALTER TABLE runs ADD COLUMN place text NOT NULL;", "not null"),
        ("alter table runs\n  add place text\n  not null;", "not null"),
        ("ALTER TABLE runs ADD COLUMN tries integer CHECK (tries > 0);", "scan"),
        ("ALTER TABLE runs ADD COLUMN parent text REFERENCES runs (id);", "scan"),
        ("ALTER TABLE runs ADD CONSTRAINT c CHECK (attempt >= 0);", "scan"),
        ("ALTER TABLE runs ADD COLUMN key uuid DEFAULT gen_random_uuid();", "rewrite"),
        ("CREATE OR REPLACE FUNCTION admit_run() RETURNS text LANGUAGE sql AS $$ SELECT 'x' $$;", "replace"),
        ("CREATE INDEX runs_error ON runs (error);", "index"),
        ("CREATE UNIQUE INDEX runs_error ON runs (error);", "unique"),
        ("CREATE TRIGGER t AFTER DELETE ON runs FOR EACH ROW EXECUTE FUNCTION f();", "trigger"),
        ("UPDATE runs SET error = '';", "rows"),
        ("-- why\nDELETE FROM runs;", "rows"),
        ("ALTER TABLE runs ADD COLUMN a text; ALTER TABLE items ADD COLUMN b text;", "tables"),
        ("-- transactional: false\nALTER TABLE runs ADD COLUMN a text;", "alone"),
        ("-- transactional: false\nCREATE INDEX CONCURRENTLY runs_error ON runs (error);", "repeat"),
        ("-- transactional: false\nDROP INDEX CONCURRENTLY IF EXISTS runs_error;", "drop"),
    ],
)
def test_what_it_may_not(statement: str, rule: str) -> None:
    assert rule in [offence.rule for offence in offences(statement)]


@pytest.mark.parametrize(
    "text",
    [
        "ALTER TABLE runs ADD COLUMN place text;",
        "ALTER TABLE runs ADD COLUMN place text NOT NULL DEFAULT '';",
        "ALTER TABLE runs ADD COLUMN seen_at timestamptz DEFAULT now();",
        "ALTER TABLE runs ADD CONSTRAINT c CHECK (place <> '') NOT VALID;",
        "-- transactional: false\nALTER TABLE runs VALIDATE CONSTRAINT c;",
        "CREATE TABLE notes (id text PRIMARY KEY, run_id text REFERENCES runs (id));"
        " CREATE UNIQUE INDEX notes_by_run ON notes (run_id);",
        "CREATE FUNCTION admit_run_2() RETURNS void LANGUAGE plpgsql AS $$ BEGIN UPDATE runs SET a = 1; END $$;",
        "-- transactional: false\nDROP INDEX CONCURRENTLY IF EXISTS i;\nCREATE INDEX CONCURRENTLY i ON runs (error);",
        "-- nothing but a comment that would DROP TABLE runs",
    ],
)
def test_what_it_may(text: str) -> None:
    assert [str(offence) for offence in offences(text)] == []


def test_a_comment_and_a_body_are_not_statements() -> None:
    text = "-- DROP TABLE a;\nCREATE FUNCTION f() AS $x$ a; b; $x$; /* c */ SELECT 1;"
    assert statements(text) == ["CREATE FUNCTION f() AS ''", "SELECT 1"]
