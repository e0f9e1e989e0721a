"""The release before, frozen: what it says to PostgreSQL and to Redis, kept here so that no test needs git's history.

    python -m tests.previous <commit>

writes COMMIT, statements.sql, migrations/ and lua/ anew, from the commit of a release. `rows.py` and `redis.py` use
them as that release does and are kept by hand. docs/migrations.md says when.
"""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent
STATEMENTS = FOLDER / "statements.sql"
MIGRATIONS = FOLDER / "migrations"
LUA = FOLDER / "lua"
COMMIT = FOLDER / "COMMIT"
NAME = "-- name: "


def statements() -> dict[str, str]:
    """Every statement of its processes, by module and name."""
    found = {}
    for block in STATEMENTS.read_text().split(NAME)[1:]:
        name, _, text = block.partition("\n")
        found[name] = text.strip().removesuffix(";")
    return found


def script(name: str) -> str:
    return (LUA / f"{name}.lua").read_text()


def commit() -> str:
    return COMMIT.read_text().strip()
