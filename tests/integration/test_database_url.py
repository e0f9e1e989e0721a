"""DATABASE_URL means the same to a migration, the API and a worker: what works, and what none of them can keep."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from relaykit.shared.errors import RelaykitError, SettingsError
from relaykit.shared.postgres.conninfo import VARIABLES
from relaykit.shared.postgres.database import Database
from relaykit.shared.postgres.database_url import read_database_url
from relaykit.shared.postgres.migrate import migrate
from relaykit.shared.settings import Settings
from tests.integration.persistence import settings_for
from tests.support.network.certificates import Certificates, made_certificates
from tests.support.services.databases import open_folder, remove_data
from tests.support.services.pgbouncer import pgbouncer
from tests.support.system import ROOT, START_SECONDS, start_process, wait_until

MALFORMED = "DATABASE_URL: is not a PostgreSQL URL"


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What the machine has set for another database is no part of these tests."""
    for variable in (*VARIABLES.values(), "PGSERVICE", "PGSERVICEFILE", "PGSYSCONFDIR", "PGPASSFILE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


async def _by_pool(url: str) -> None:
    async with Database(settings_for(url)) as database:
        await database.check()


async def _by_migration(url: str) -> None:
    await asyncio.to_thread(migrate, url)


DRIVERS: list[Any] = [pytest.param(_by_pool, id="pool"), pytest.param(_by_migration, id="migration")]
Driver = Callable[[str], Awaitable[None]]


class _Place:
    """The tests' database, in pieces."""

    def __init__(self, url: str) -> None:
        target = conninfo_to_dict(url)
        self.host, self.port = str(target["host"]), str(target.get("port", 5432))
        self.user, self.password = str(target["user"]), str(target["password"])
        self.name = str(target["dbname"])

    @property
    def credentials(self) -> str:
        return f"{quote(self.user, safe='')}:{quote(self.password, safe='')}"

    def url(self, query: str = "", scheme: str = "postgresql") -> str:
        return f"{scheme}://{self.credentials}@{self.host}:{self.port}/{self.name}" + (query and f"?{query}")


@pytest.fixture
def place(database_url: str) -> _Place:
    return _Place(database_url)


WORKING = {
    "Heroku, Render": "",
    "Fly": "sslmode=disable",
    "Supabase, Prisma": "pgbouncer=true&connection_limit=1&schema=public",
    "Vercel": "supa=base-pooler.x&sslmode=prefer",
    "a time to connect": "connect_timeout=10",
    "keepalives": "keepalives=1&keepalives_idle=30&keepalives_interval=10&keepalives_count=3&tcp_user_timeout=9000",
    "no encryption by GSSAPI": "gssencmode=disable",
    "a binding where it can be had": "channel_binding=prefer",
    "a name": "application_name=shop",
    "the primary": "target_session_attrs=read-write",
    "options": "options=-c%20statement_timeout%3D5000%20-csearch_path%3Dpublic",
    "an encoding": "client_encoding=LATIN1",
}


class TestTheSameForBoth:
    @pytest.mark.parametrize("driver", DRIVERS)
    @pytest.mark.parametrize("query", WORKING.values(), ids=WORKING)
    async def test_a_string_of_a_provider_works(self, place: _Place, query: str, driver: Driver) -> None:
        await driver(place.url(query))
        await driver(place.url(query, "postgres"))

    @pytest.mark.parametrize("driver", DRIVERS)
    async def test_host_and_credentials_in_the_query(self, place: _Place, driver: Driver) -> None:
        await driver(
            f"postgresql:///{place.name}?"
            + urlencode(
                {"host": place.host, "port": place.port, "user": place.user, "password": place.password},
                quote_via=quote,
            )
        )

    @pytest.mark.parametrize("driver", DRIVERS)
    async def test_an_address_beside_the_name_of_the_host(self, place: _Place, driver: Driver) -> None:
        await driver(
            f"postgresql://{place.credentials}@no-such-host.invalid:{place.port}/{place.name}?hostaddr={place.host}"
        )

    @pytest.mark.parametrize("driver", DRIVERS)
    async def test_of_several_hosts_the_first_that_is_there(self, place: _Place, driver: Driver) -> None:
        hosts = f"{place.host}:1,/no/such/folder:2,{place.host}:{place.port}"
        await driver(f"postgresql://{place.credentials}@{quote(hosts, safe=':,')}/{place.name}")

    @pytest.mark.parametrize("driver", DRIVERS)
    async def test_a_socket_of_the_file_system(
        self, database_url: str, place: _Place, driver: Driver
    ) -> None:
        """As Cloud SQL gives it: a folder with colons in its name."""
        folder = Path(f"/tmp/relaykit:{os.getpid()}:sql")
        folder.mkdir(mode=0o777)
        folder.chmod(0o777)
        try:
            with pgbouncer(database_url, "session", unix_socket_dir=str(folder)) as through:
                port = urlsplit(through).port
                for host in (str(folder), quote(str(folder), safe="")):
                    await driver(f"postgresql://{place.user}:any@/{place.name}?host={host}&port={port}")
                await driver(
                    f"postgresql://{place.user}:any@{quote(str(folder), safe='')}:{port}/{place.name}"
                )
        finally:
            for left in folder.iterdir():
                left.unlink()
            folder.rmdir()

    @pytest.mark.parametrize("driver", DRIVERS)
    @pytest.mark.parametrize("raw", ["p?w", "p#w", "p[w", "p+w", "p&w=", "p:w", "p;w", "ü"])
    async def test_a_password_with_characters_that_are_not_escaped(
        self, database_url: str, place: _Place, raw: str, driver: Driver
    ) -> None:
        name = f"role_{os.getpid()}"
        role, literal = psycopg.sql.Identifier(name), psycopg.sql.Literal(raw)
        with psycopg.connect(database_url, autocommit=True) as owner:
            member = psycopg.sql.Identifier(place.user)
            owner.execute(
                psycopg.sql.SQL("CREATE ROLE {} LOGIN PASSWORD {} IN ROLE {}").format(role, literal, member)
            )
            try:
                await driver(f"postgresql://{name}:{raw}@{place.host}:{place.port}/{place.name}")
            finally:
                owner.execute(psycopg.sql.SQL("DROP ROLE {}").format(role))

    @pytest.mark.parametrize("driver", DRIVERS)
    @pytest.mark.parametrize("by", ["passfile", "PGPASSFILE", "home", "PGPASSWORD"])
    async def test_a_password_that_is_kept_elsewhere(
        self, place: _Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str, driver: Driver
    ) -> None:
        file = tmp_path / (".pgpass" if by == "home" else "passwords")
        file.touch(0o600)
        if by != "PGPASSWORD":
            file.write_text(
                f"# ours\nelsewhere:*:*:*:wrong\n{place.host}:*:{place.name}:*:{place.password}\n"
            )
        query = f"passfile={quote(str(file))}" if by == "passfile" else ""
        if by == "PGPASSFILE":
            monkeypatch.setenv(by, str(file))
        if by == "PGPASSWORD":
            monkeypatch.setenv(by, place.password)
        await driver(f"postgresql://{place.user}@{place.host}:{place.port}/{place.name}?{query}")

    @pytest.mark.parametrize("driver", DRIVERS)
    async def test_a_service(
        self, place: _Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, driver: Driver
    ) -> None:
        file = tmp_path / "services"
        file.write_text(
            f"[other]\nhost=no-such-host.invalid\n[shop]\nhost={place.host}\nport={place.port}\n"
            f"user={place.user}\npassword={place.password}\ndbname=absent\nconnect_timeout=10\n"
        )
        monkeypatch.setenv("PGSERVICEFILE", str(file))
        await driver(f"postgresql:///{place.name}?service=shop")


REFUSED = {
    "gssencmode=require": "gssencmode",
    "require_auth=scram-sha-256": "require_auth",
    "requirepeer=postgres": "requirepeer",
    "sslcertmode=require": "sslcertmode",
    "sslcrldir=/crl": "sslcrldir",
    "sslmode=no-verify": "sslmode",
    "sslmode=verify-full": "sslrootcert",
    "sslmode=verify-ca": "sslrootcert",
    "sslmode=require&sslrootcert=/no/such/file": "sslrootcert",
    "sslmode=require&sslcert=/no/such/file": "sslcert",
    "sslmode=require&sslrootcert=system": "sslrootcert",
    "sslnegotiation=direct": "sslnegotiation",
    "ssl_min_protocol_version=SSLv3": "ssl_min_protocol_version",
    "channel_binding=require&sslmode=disable": "channel_binding",
    "channel_binding=require&host=/tmp": "channel_binding",
    "hostaddr=127.0.0.1&sslmode=verify-full&sslrootcert=system": "hostaddr",
    "hostaddr=127.0.0.1,127.0.0.2": "host and hostaddr",
    "port=1,2": "port",
    "connect_timeout=soon": "connect_timeout",
    "target_session_attrs=standby": "target_session_attrs",
    "target_session_attrs=read-only": "target_session_attrs",
    "replication=database": "replication",
    "schema=shop": "schema",
    "sslaccept=strict": "sslaccept",
    "oauth_client_id=me": "oauth_client_id",
    "service=absent": "service",
}


class TestRefusedAlike:
    @pytest.mark.parametrize(("query", "parameter"), REFUSED.items(), ids=REFUSED)
    async def test_what_both_cannot_keep_is_one_line_that_names_it(
        self, place: _Place, query: str, parameter: str
    ) -> None:
        lines = []
        for driver in (_by_pool, _by_migration):
            with pytest.raises(SettingsError) as raised:
                await driver(place.url(query))
            lines.append(raised.value.message)
        assert lines[0] == lines[1]
        assert lines[0].startswith(f"DATABASE_URL: {parameter}")
        assert "\n" not in lines[0]
        assert place.password not in lines[0]

    @pytest.mark.parametrize(
        "url",
        [
            "postgresql://u:sec%ret@localhost/db",
            "postgresql://u:sec%00ret@localhost/db",
            "postgresql://u:sec%ffret@localhost/db",
            "postgresql://u:sec/ret@localhost/db",
            "postgresql://u:@h:secret/db",
            "postgresql://u:p@h:70000/db",
            "postgresql://u@[::1/secret",
            "postgresql://u@h/d?secret",
            "postgresql://u@h/d?user=a=secret",
        ],
    )
    async def test_a_malformed_url_shows_no_part_of_itself(self, url: str) -> None:
        for driver in (_by_pool, _by_migration):
            with pytest.raises(SettingsError) as raised:
                await driver(url)
            assert raised.value.message == MALFORMED

    async def test_a_parameter_that_is_unknown_is_not_shown(self) -> None:
        """It may be a piece of a password: `u:p/ss?se=cret@h`."""
        for driver in (_by_pool, _by_migration):
            with pytest.raises(SettingsError) as raised:
                await driver("postgresql://u@h/d?secret=1")
            assert raised.value.message.startswith("DATABASE_URL: has a parameter that libpq does not know")
            assert "secret" not in raised.value.message

    @pytest.mark.parametrize("module", ["api", "worker"])
    async def test_the_processes_say_it_in_the_same_line(
        self, settings: Settings, tmp_path: Path, module: str
    ) -> None:
        url = _Place(settings.database_url).url("gssencmode=require")
        line = "DATABASE_URL: gssencmode: only disable, prefer can be kept by both drivers"
        process = start_process(module, settings, tmp_path / "log", DATABASE_URL=url)
        await wait_until(f"the {module} has ended", lambda: process.popen.poll() is not None, START_SECONDS)
        assert (process.popen.returncode, process.output.count(line)) == (2, 1)
        assert "Traceback" not in process.output
        done = _migrate_command(url)
        assert (done.returncode, done.stdout, done.stderr) == (2, "", f"migrate: {line}\n")


def _migrate_command(url: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "relaykit.shared.postgres.migrate"],
        env={"DATABASE_URL": url, **more},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


class TestTranslated:
    def test_what_is_left_out_is_named_without_its_value(self, place: _Place) -> None:
        done = _migrate_command(place.url("pgbouncer=secretive&connection_limit=77"))
        assert (done.returncode, done.stdout) == (0, "migrate: nothing to do\n")
        named = re.findall(r"^migrate: DATABASE_URL: (\w+) is left out: ", done.stderr, re.MULTILINE)
        assert sorted(named) == ["connection_limit", "pgbouncer"]
        assert "77" not in done.stderr
        assert "secretive" not in done.stderr

    async def test_the_pool_has_the_name_and_the_options_of_the_url(self, place: _Place) -> None:
        url = place.url("application_name=shop&options=-cstatement_timeout%3D5001")
        async with Database(settings_for(url)) as database, database.connection() as connection:
            assert await connection.fetchval("SHOW application_name") == "shop"
            assert await connection.fetchval("SHOW statement_timeout") == "5001ms"
        async with Database(settings_for(place.url())) as database, database.connection() as connection:
            assert await connection.fetchval("SHOW application_name") == "relaykit"

    async def test_the_connections_of_the_pool_have_the_keepalives_of_the_url(self, place: _Place) -> None:
        url = place.url("keepalives_idle=31&keepalives_interval=11&keepalives_count=4&tcp_user_timeout=9000")
        async with Database(settings_for(url)) as database, database.connection() as connection:
            tcp = connection._raw._transport.get_extra_info("socket")
            assert tcp.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            options = (
                socket.TCP_KEEPIDLE,
                socket.TCP_KEEPINTVL,
                socket.TCP_KEEPCNT,
                socket.TCP_USER_TIMEOUT,
            )
            assert [tcp.getsockopt(socket.IPPROTO_TCP, option) for option in options] == [31, 11, 4, 9000]

    async def test_a_password_that_is_changed_in_its_file_is_read_for_the_next_connection(
        self, place: _Place, tmp_path: Path
    ) -> None:
        file = tmp_path / ".pgpass"
        file.touch(0o600)
        file.write_text(f"*:*:*:*:{place.password}\n")
        url = f"postgresql://{place.user}@{place.host}:{place.port}/{place.name}"
        async with Database(settings_for(url)) as database, database.connection():
            file.write_text("*:*:*:*:another\n")
            second = asyncio.create_task(database.check())
            done, _ = await asyncio.wait([second], timeout=0.3)
            assert not done, "the old password was taken"
            file.write_text(f"*:*:*:*:{place.password}\n")
            await second

    def test_a_time_to_connect_is_for_each_host(self) -> None:
        read = read_database_url("postgresql://a,b/d?connect_timeout=3", {})
        assert read.for_asyncpg(10)["timeout"] == 6
        assert read.for_libpq("x", 10)["connect_timeout"] == "3"
        assert read_database_url("postgresql://a/d?connect_timeout=0", {}).for_asyncpg(10)["timeout"] == 10

    def test_of_several_hosts_one_that_can_be_written_to_unless_it_is_said_which(self) -> None:
        for url, target in (
            ("postgresql://a,b/d", "read-write"),
            ("postgresql://a/d", "any"),
            ("postgresql://a,b/d?target_session_attrs=any", "any"),
        ):
            read = read_database_url(url, {})
            assert read.for_asyncpg(1)["target_session_attrs"] == target
            assert read.for_libpq("x", 1)["target_session_attrs"] == target


@pytest.fixture(scope="module")
def certificates() -> Iterator[Certificates]:
    folder = open_folder("relaykit-certificates-")  # where PgBouncer can go as another user
    yield made_certificates(folder)
    remove_data(folder)


class TestTls:
    """Through a PgBouncer that has a certificate: the embedded PostgreSQL has no TLS."""

    @pytest.fixture
    def server(self, database_url: str, certificates: Certificates) -> Iterator[str]:
        with pgbouncer(
            database_url,
            "session",
            client_tls_sslmode="require",
            client_tls_key_file=str(certificates.key),
            client_tls_cert_file=str(certificates.certificate),
        ) as url:
            yield url

    @pytest.mark.parametrize("driver", DRIVERS)
    @pytest.mark.parametrize("query", ["", "sslmode=require", "ssl=true", "ssl_min_protocol_version=TLSv1.2"])
    async def test_it_is_used_without_being_verified(self, server: str, query: str, driver: Driver) -> None:
        await driver(f"{server}?{query}")

    @pytest.mark.parametrize("driver", DRIVERS)
    @pytest.mark.parametrize(
        "query",
        [
            "sslmode=verify-full&sslrootcert=system",
            "sslrootcert=system",
            "channel_binding=require",
            "sslmode=require&channel_binding=require",
            "sslmode=verify-full&sslrootcert=system&channel_binding=require",
        ],
    )
    async def test_a_server_that_the_systems_roots_know_is_taken_and_no_other(
        self,
        server: str,
        certificates: Certificates,
        monkeypatch: pytest.MonkeyPatch,
        query: str,
        driver: Driver,
    ) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificates.root))
        await driver(f"{server}?{query}")
        monkeypatch.setenv("SSL_CERT_FILE", str(certificates.other_root))
        with pytest.raises(RelaykitError, match=r"(?i)cannot connect .*certificate"):
            await driver(f"{server}?{query}")

    @pytest.mark.parametrize("driver", DRIVERS)
    @pytest.mark.parametrize("query", ["sslmode=verify-ca", "sslmode=require", "channel_binding=require"])
    async def test_a_server_that_a_file_of_roots_knows_is_taken_and_no_other(
        self, server: str, certificates: Certificates, query: str, driver: Driver
    ) -> None:
        await driver(f"{server}?{query}&sslrootcert={certificates.root}")
        with pytest.raises(RelaykitError, match=r"(?i)cannot connect .*certificate"):
            await driver(f"{server}?{query}&sslrootcert={certificates.other_root}")

    @pytest.mark.parametrize("driver", DRIVERS)
    async def test_a_name_that_the_certificate_does_not_have_is_refused_where_names_count(
        self, server: str, certificates: Certificates, driver: Driver
    ) -> None:
        elsewhere = server.replace("127.0.0.1", "127.0.0.2")
        with pytest.raises(RelaykitError, match="cannot connect"):
            await driver(f"{elsewhere}?sslmode=verify-full&sslrootcert={certificates.root}")

    @pytest.mark.parametrize("driver", DRIVERS)
    async def test_a_binding_that_is_required_is_not_dropped_without_tls(
        self, database_url: str, driver: Driver
    ) -> None:
        with pytest.raises(RelaykitError, match="cannot connect"):
            await driver(f"{database_url}?channel_binding=require")

    def test_it_is_told_that_the_certificate_takes_the_place_of_the_binding(self) -> None:
        read = read_database_url("postgresql://h/d?sslmode=require&channel_binding=require")
        assert read.left_out == {
            "channel_binding": "the server's certificate is verified in its place, as sslmode=verify-full has it"
        }
