"""`relaykit check`: one line for each part, and a status that a script can ask."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from relaykit.shared.settings import Settings
from tests.support.processes.forked import run_command
from tests.support.servers import lively_site
from tests.support.servers.lively_site import FOLDER, noted
from tests.support.system import START_SECONDS, environment, free_port

HOOKS = "tests.support.servers.authenticate_hooks"


def checked(settings: Settings, **more: str) -> tuple[int, dict[str, str]]:
    """The status, and what is said of each part."""
    done = run_command(["check"], environment(settings, **more), timeout=START_SECONDS)
    assert done.errors == ""
    return done.status, dict(line.split(": ", 1) for line in done.output.splitlines())


def test_where_all_is_well_each_part_says_so(settings: Settings) -> None:
    status, said = checked(settings)
    assert list(said) == ["settings", "server", "postgresql", "schema", "redis"]
    assert {text.partition(" ")[0] for text in said.values()} == {"ok"}
    assert status == 0


def test_what_postgresql_may_lose_is_said_of_it(settings: Settings) -> None:
    """The server of the tests writes to its disk when it likes."""
    status, said = checked(settings)
    assert "synchronous_commit is off: Relaykit turns it on" in said["postgresql"]
    assert "fsync is off" in said["postgresql"]
    assert status == 0


@pytest.mark.parametrize(
    ("part", "variable", "value", "code", "ends_with"),
    [
        ("settings", "LEASE_SECONDS", "soon", "bad_setting", 2),
        ("settings", "JWT_ISSUER", "", "bad_setting", 2),
        ("server", "ATTACHMENTS_URL", "ftp://files.example", "bad_setting", 2),
        ("postgresql", "DATABASE_URL", "postgresql://127.0.0.1/x?no_such=1", "bad_setting", 2),
        ("server", "CHATKIT_SERVER", "nothing.here:Server", "server_not_loadable", 2),
        ("server", "AUTHENTICATE", "nothing.here:hook", "server_not_loadable", 2),
        ("server", "AUTHENTICATE", f"{HOOKS}:not_async", "server_not_loadable", 2),
        ("server", "AUTHENTICATE", f"{HOOKS}:number", "server_not_loadable", 2),
        ("settings", "TOKEN_COOKIE", "no cookie", "bad_setting", 2),
        ("settings", "JWT_SECRET", "short", "bad_setting", 2),
        ("redis", "REDIS_URL", "redis://127.0.0.1:{port}/0", "queue_unavailable", 1),
        ("postgresql", "DATABASE_URL", "postgresql://127.0.0.1:{port}/x", "database_unavailable", 1),
    ],
)
def test_what_is_wrong_is_said_of_its_part_and_the_others_are_checked_all_the_same(
    settings: Settings, part: str, variable: str, value: str, code: str, ends_with: int
) -> None:
    given = {"ATTACHMENTS_KEY": "k" * 43, variable: value.format(port=free_port())}
    status, said = checked(settings, **given)
    assert said.pop(part).startswith(f"{code}: ")
    assert {text.partition(" ")[0] for text in said.values()} <= {"ok"}
    assert status == ends_with


def test_a_wrong_setting_is_told_before_what_else_has_failed(settings: Settings) -> None:
    port = free_port()
    url = f"redis://127.0.0.1:{port}/0"
    status, said = checked(settings, REDIS_URL=url, DATABASE_URL="postgresql://127.0.0.1/x?no_such=1")
    assert said["postgresql"].startswith("bad_setting: ")
    assert said["redis"].startswith("queue_unavailable: ")
    assert status == 2


def test_a_schema_that_is_behind_is_said_apart_from_the_server_that_has_it(settings: Settings) -> None:
    with psycopg.connect(settings.database_url, autocommit=True) as connection:
        newest = "(SELECT max(migration_id) FROM _yoyo_migration)"
        connection.execute(f"DELETE FROM _yoyo_migration WHERE migration_id = {newest}")
    status, said = checked(settings)
    assert said["postgresql"] == "ok"
    assert said["schema"].startswith("schema_outdated: ")
    assert said["redis"] == "ok"
    assert status == 1


LIVELY = "tests.support.servers.lively_site"
LIVELY_SITE = {
    "CHATKIT_SERVER": f"{LIVELY}:LivelyServer",
    "CHATKIT_LIFESPAN": f"{LIVELY}:lifespan",
    "CHATKIT_APP": f"{LIVELY}:app",
    "LIFESPAN_SECONDS": "1",
}


def test_the_lifespan_and_the_application_are_entered_and_left(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    status, said = checked(settings, **LIVELY_SITE, **{FOLDER: str(tmp_path)})
    assert list(said) == ["settings", "server", "app", "postgresql", "schema", "lifespan", "redis"]
    assert {text.partition(" ")[0] for text in said.values()} == {"ok"}
    assert status == 0
    assert noted() == ["worker entered", "app entered", "app left", "worker left"]


@pytest.mark.parametrize(
    ("place", "how", "part", "variable"),
    [
        ("enter", "raise", "lifespan", "CHATKIT_LIFESPAN"),
        ("enter", "hang", "lifespan", "CHATKIT_LIFESPAN"),
        ("app_enter", "raise", "lifespan", "CHATKIT_APP"),
        ("", "no_such", "app", "CHATKIT_APP"),
    ],
)
def test_a_lifespan_or_an_application_that_cannot_start_is_one_line(
    settings: Settings, tmp_path: Path, place: str, how: str, part: str, variable: str
) -> None:
    site = {**LIVELY_SITE}
    if place:
        (tmp_path / place).write_text(how)
    else:
        site["CHATKIT_APP"] = f"{LIVELY}:{how}"
    status, said = checked(settings, **site, **{FOLDER: str(tmp_path)})
    assert said[part].startswith(f"server_not_loadable: {variable}=")
    if place:
        assert f"{lively_site.__file__}:" in said[part]
    assert status == 2
