"""The functions of the schema: those that a database has, and those that shared/postgres/functions/ describes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import psycopg

from relaykit.shared.postgres.migrate import MIGRATIONS

FUNCTIONS = MIGRATIONS.with_name("functions")

_OF_SCHEMA = """
SELECT proname, pg_get_functiondef(oid)
FROM pg_proc
WHERE pronamespace = to_regnamespace(%s) AND NOT EXISTS (
    SELECT FROM pg_depend WHERE classid = 'pg_proc'::regclass AND objid = pg_proc.oid AND deptype = 'e'
)
ORDER BY proname, pg_get_functiondef(oid)
"""
"""Without the functions of extensions."""
_STRING_OR_GAP = re.compile(r"('(?:[^']|'')*')|(?:\s|--[^\n]*)+")

Functions = list[tuple[str, str]]
"""Names, each with its definition."""


def migrated(connection: psycopg.Connection[Any]) -> Functions:
    """The functions that the migrations have left in the database."""
    return _of_schema(connection, "public")


def described(connection: psycopg.Connection[Any], files: Iterable[Path]) -> Mapping[str, Functions]:
    """By the stem of each file, the functions that it creates. The database is left as it was."""
    found = {}
    for file in files:
        with connection.transaction(force_rollback=True):
            connection.execute("CREATE SCHEMA described")
            connection.execute("SET LOCAL search_path = described, public")
            connection.execute(file.read_text())  # type: ignore[arg-type]  # not a literal
            found[file.stem] = _of_schema(connection, "described")
    return found


def _of_schema(connection: psycopg.Connection[Any], schema: str) -> Functions:
    rows = connection.execute(_OF_SCHEMA, [schema]).fetchall()
    return [
        (name, normalized(definition).replace(f"FUNCTION {schema}.", "FUNCTION "))
        for name, definition in rows
    ]


def normalized(definition: str) -> str:
    """The definition with one space in place of each comment, line end and run of spaces outside a string."""
    return _STRING_OR_GAP.sub(lambda match: match[1] or " ", definition).strip()
