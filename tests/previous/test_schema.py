"""What the release before says to PostgreSQL means the same on the newest schema, and its code starts there."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest

from relaykit.shared.postgres import migrate as module
from relaykit.shared.postgres.database import Database
from relaykit.shared.postgres.migrate import MIGRATIONS, migrate
from relaykit.shared.settings import Settings
from tests import previous

Meaning = dict[str, Any]


async def meanings(database_url: str) -> dict[str, Meaning]:
    """Of each statement: its parameters' types, and its columns' names and types; or why PostgreSQL refuses it."""
    connection = await asyncpg.connect(database_url)
    try:
        return {name: await meaning(connection, text) for name, text in previous.statements().items()}
    finally:
        await connection.close()


async def meaning(connection: asyncpg.Connection, statement: str) -> Meaning:
    try:
        prepared = await connection.prepare(statement)
    except asyncpg.PostgresError as error:
        return {"refused": str(error)}
    return {
        "parameters": [kind.name for kind in prepared.get_parameters()],
        "columns": [(column.name, column.type.name) for column in prepared.get_attributes()],
    }


async def test_every_statement_means_what_it_meant(previous_database_url: str, database_url: str) -> None:
    before = await meanings(previous_database_url)
    assert len(before) > 40
    assert not [name for name, found in before.items() if "refused" in found]
    assert await meanings(database_url) == before


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE runs RENAME COLUMN handed_back TO returned",
        "ALTER TABLE runs ALTER COLUMN attempt TYPE bigint",
        "ALTER TABLE items DROP COLUMN data",
    ],
)
async def test_the_test_before_this_one_would_see_it(previous_database_url: str, change: str) -> None:
    before = await meanings(previous_database_url)
    connection = await asyncpg.connect(previous_database_url)
    await connection.execute(change)
    await connection.close()
    assert await meanings(previous_database_url) != before


def test_no_statement_takes_whatever_columns_there_are() -> None:
    """A plan that is kept fails, inside a transaction, once a column has been added to what it returns."""
    assert not [
        name for name, text in previous.statements().items() if "SELECT *" in text or "RETURNING *" in text
    ]


async def test_a_database_that_is_ahead_is_no_hindrance(settings: Settings) -> None:
    """As the release before finds it, while it still serves and after a rollback: it only asks for what it knows."""
    connection = await asyncpg.connect(settings.database_url)
    await connection.execute("INSERT INTO _yoyo_migration VALUES ('hash', '9999_of_the_next_release', now())")
    await connection.close()
    async with Database(settings) as database:
        await database.check()


def test_migrating_after_a_rollback_does_nothing(
    previous_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The image of the release before migrates too when it starts; nothing is taken back, nothing comes twice."""
    known = {path.stem for path in previous.MIGRATIONS.glob("*.sql")}
    newer = sorted({path.stem for path in MIGRATIONS.glob("*.sql")} - known)
    assert migrate(previous_database_url) == newer
    with monkeypatch.context() as patch:
        patch.setattr(module, "MIGRATIONS", previous.MIGRATIONS)
        assert migrate(previous_database_url) == []
    assert migrate(previous_database_url) == []
