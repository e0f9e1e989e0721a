"""`relaykit migrate`: odd URLs, and one clear line."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlencode

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from relaykit.shared.errors import SettingsError
from relaykit.shared.postgres.migrate import MIGRATIONS, migrate
from tests.support.services.databases import Databases
from tests.support.system import START_SECONDS

ROOT = Path(__file__).parents[2]
IDS = sorted(path.stem for path in MIGRATIONS.glob("*.sql"))


@pytest.fixture
def empty(databases: Databases) -> Iterator[str]:
    with databases.fresh(migrated=False) as url:
        yield url


def _run(url: str | None) -> subprocess.CompletedProcess[str]:
    environment = {} if url is None else {"DATABASE_URL": url}
    return subprocess.run(
        [sys.executable, "-m", "relaykit.shared.postgres.migrate"],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )


class TestUrl:
    def test_a_password_with_special_characters_and_the_short_scheme(
        self, empty: str, databases: Databases
    ) -> None:
        name, password = f"role_{os.getpid()}", "p@ss/w:o?r#d %41&'\\ü"
        with psycopg.connect(empty, autocommit=True) as owner:
            literal = psycopg.sql.Literal(password)
            role = psycopg.sql.Identifier(name)
            owner.execute(psycopg.sql.SQL("CREATE ROLE {} LOGIN SUPERUSER PASSWORD {}").format(role, literal))
            try:
                target = conninfo_to_dict(empty)
                place = (
                    f"{target['host']}:{target['port']}" if not str(target["host"]).startswith("/") else ""
                )
                url = f"postgres://{name}:{quote(password, safe='')}@{place}/{target['dbname']}"
                if not place:
                    url += "?" + urlencode({"host": target["host"], "port": target.get("port", 5432)})
                assert migrate(url) == IDS
                assert migrate(url.replace("postgres://", "postgresql://")) == []
            finally:
                owner.execute(psycopg.sql.SQL("REASSIGN OWNED BY {} TO CURRENT_USER").format(role))
                owner.execute(psycopg.sql.SQL("DROP ROLE {}").format(role))

    def test_host_and_port_in_the_query(self, empty: str) -> None:
        """As a unix socket's folder is given; here with the address that the server listens on."""
        target = conninfo_to_dict(empty)
        query = urlencode(
            {key: target[key] for key in ("host", "port", "user", "password") if target.get(key)}
        )
        assert migrate(f"postgresql:///{target['dbname']}?{query}") == IDS

    @pytest.mark.parametrize(
        "url",
        [
            "postgresql://u:sec%ret@localhost/db",
            "mysql://u:secret@h/d",
            "secret",
        ],
    )
    def test_a_malformed_url_is_an_error_that_shows_no_password(self, url: str) -> None:
        with pytest.raises(SettingsError) as raised:
            migrate(url)
        assert raised.value.message == "DATABASE_URL: is not a PostgreSQL URL"
        assert raised.value.__context__ is None or raised.value.__suppress_context__


class TestCommand:
    def test_it_ends_with_one_line_and_reads_only_its_url(self, empty: str) -> None:
        first, second = _run(empty), _run(empty)
        assert (first.returncode, first.stderr) == (0, "")
        assert first.stdout == f"migrate: applied {', '.join(IDS)}\n"
        assert (second.returncode, second.stdout, second.stderr) == (0, "migrate: nothing to do\n", "")

    @pytest.mark.parametrize(
        ("url", "status", "line"),
        [
            (None, 2, r"migrate: DATABASE_URL: is not set"),
            ("postgresql://u:sec%ret@localhost/db", 2, r"migrate: DATABASE_URL: is not a PostgreSQL URL"),
            (
                "postgresql://u:secret@127.0.0.1:1/db",
                1,
                r"migrate: DATABASE_URL: cannot connect \(OperationalError: connection refused\)",
            ),
            (
                "postgresql://u:p@secret@127.0.0.1:1/db",
                1,
                r"migrate: DATABASE_URL: cannot connect \(OperationalError: failed to resolve host\)",
            ),
            ("postgresql://u:@h:secret/db", 2, r"migrate: DATABASE_URL: is not a PostgreSQL URL"),
            ("postgresql://u:p/secret@h/db", 2, r"migrate: DATABASE_URL: is not a PostgreSQL URL"),
            (
                f"postgresql://u:p@secret{'x' * 70}..@127.0.0.1:1/db",
                1,
                r"migrate: DATABASE_URL: cannot connect \(UnicodeError\)",
            ),
        ],
        ids=["absent", "malformed", "away", "an @", "a port", "a slash", "a host that no name can be"],
    )
    def test_a_failure_is_one_line_on_stderr_without_the_password(
        self, url: str | None, status: int, line: str
    ) -> None:
        """The status is 2 for a mistake in the URL, 1 where the server does not take the connection."""
        result = _run(url)
        assert (result.returncode, result.stdout) == (status, "")
        assert re.fullmatch(line + r"\n", result.stderr)
        assert "secret" not in result.stderr
