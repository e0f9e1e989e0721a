"""What DATABASE_URL means to both drivers: asyncpg of the API and the workers, libpq of a migration.

Each parameter of libpq's is given to both, translated, left out with a warning, or refused; docs/operations.md has the
table. Nothing that a parameter promises about security is left out: where a driver cannot keep it, it is refused, or
something that is at least as strict takes its place.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

from relaykit.shared.errors import SettingsError
from relaykit.shared.postgres.conninfo import malformed, parse_url, password_in, with_defaults
from relaykit.shared.postgres.database_parameters import ALLOWED, LEFT_OUT, NAMES, NUMBERS, PLAIN, TLS

DEFAULT_PORT: Final = "5432"
APPLICATION_NAME: Final = "relaykit"
"""The name of a session of the API or a worker, where the URL has none."""
LOCAL_HOSTS: Final = "/run/postgresql,/var/run/postgresql,/tmp,localhost"  # folders of a socket
"""Where the server is looked for without a host. libpq's own choice depends on who has built it."""
ROOTS: Final = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
"""Where systems keep the roots that they trust, for sslrootcert=system."""


@dataclass(frozen=True, slots=True)
class DatabaseUrl:
    """The parameters of a URL, as both drivers are given them."""

    hosts: tuple[str, ...]
    addresses: tuple[str, ...]
    """Where the hosts are, in their order; empty where their names say so."""
    ports: tuple[str, ...]
    user: str | None
    password: str | Callable[[], str | None] = field(repr=False)
    """Or what reads it from the password file: anew for each connection, as it may be changed."""
    database: str | None
    application_name: str | None
    options: str | None
    target: str
    """target_session_attrs."""
    tls: Mapping[str, str] = field(repr=False)
    kerberos: Mapping[str, str]
    numbers: Mapping[str, int]
    libpq_only: Mapping[str, str]
    """What asyncpg keeps without being told."""
    left_out: Mapping[str, str]
    """Parameters that neither driver is given, with the reason."""

    def for_asyncpg(self, default_seconds: float) -> dict[str, Any]:
        """Arguments of asyncpg.connect. `default_seconds` for a connection, where the URL does not say how long."""
        tls = {**self.tls, **self.kerberos}
        settings = {"application_name": self.application_name or APPLICATION_NAME}
        if self.options is not None:
            settings["options"] = self.options
        each = self.numbers.get("connect_timeout", 0)
        return {
            "dsn": f"postgresql://?{urlencode(tls, quote_via=quote)}" if tls else None,
            "host": list(self.addresses or self.hosts),
            "port": [int(port) for port in self.ports],
            "user": self.user,
            "password": self.password,
            "database": self.database,
            "server_settings": settings,
            "target_session_attrs": self.target,
            "timeout": each * len(self.hosts) if each > 0 else default_seconds,
        }

    def for_libpq(self, application_name: str, default_seconds: int) -> dict[str, str]:
        """Parameters of psycopg.connect; `application_name` where the URL has none."""
        found: dict[str, str | None] = {
            "host": ",".join(self.hosts),
            "hostaddr": ",".join(self.addresses),
            "port": ",".join(self.ports),
            "user": self.user,
            "password": self.password if isinstance(self.password, str) else self.password(),
            "dbname": self.database,
            "application_name": self.application_name or application_name,
            "options": self.options,
            "target_session_attrs": self.target,
            "client_encoding": "UTF8",
            "connect_timeout": str(default_seconds),
            **self.tls,
            **self.kerberos,
            **{name: str(number) for name, number in self.numbers.items()},
            **self.libpq_only,
        }
        return {name: value for name, value in found.items() if value}

    def tune(self, tcp: socket.socket) -> None:
        """Gives a TCP connection of asyncpg's the keepalives that libpq gives its own."""
        if tcp.family == socket.AF_UNIX:
            return
        if self.numbers.get("keepalives", 1):
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, option in _KEEPALIVE_OPTIONS.items():
                if self.numbers.get(name, 0) > 0:
                    tcp.setsockopt(socket.IPPROTO_TCP, option, self.numbers[name])
        if self.numbers.get("tcp_user_timeout", 0) > 0 and _USER_TIMEOUT is not None:
            tcp.setsockopt(socket.IPPROTO_TCP, _USER_TIMEOUT, self.numbers["tcp_user_timeout"])


_KEEPALIVE_OPTIONS: Final = {
    name: getattr(socket, option)
    for name, option in (
        ("keepalives_idle", "TCP_KEEPIDLE"),
        ("keepalives_interval", "TCP_KEEPINTVL"),
        ("keepalives_count", "TCP_KEEPCNT"),
    )
    if hasattr(socket, option)  # not on every system
}
_USER_TIMEOUT: Final[int | None] = getattr(socket, "TCP_USER_TIMEOUT", None)


def read_database_url(url: str, environ: Mapping[str, str] | None = None) -> DatabaseUrl:
    """Reads the URL, and what libpq reads besides: PG* variables, a service file, a password file.

    Raises SettingsError: one line that names the parameter and never shows a value.
    """
    environ = os.environ if environ is None else environ
    given = parse_url(url)
    found = with_defaults(given, environ)
    left_out = {name: reason for name, reason in LEFT_OUT.items() if name in found}
    _check_names({*given, *found})
    _check_values(found)
    hosts, addresses, ports = _places(found)
    tls = {name: found[name] for name in TLS if name in found}
    if found.get("channel_binding") == "require":
        left_out["channel_binding"] = _verify_instead_of_binding(tls, hosts)
    _check_tls(tls, addresses, environ)
    user, database = found.get("user"), found.get("dbname")
    return DatabaseUrl(
        hosts=hosts,
        addresses=addresses,
        ports=ports,
        user=user,
        password=found.get("password") or partial(_password, found, hosts, ports, environ),
        database=database,
        application_name=found.get("application_name") or found.get("fallback_application_name"),
        options=found.get("options"),
        # of several servers the one that can be written to, unless it is said which
        target=found.get("target_session_attrs") or ("read-write" if len(hosts) > 1 else "any"),
        tls=tls,
        kerberos={name: found[name] for name in ("krbsrvname", "gsslib") if name in found},
        numbers={name: _number(name, found[name]) for name in NUMBERS if name in found},
        libpq_only={name: found[name] for name in ("gssencmode",) if name in found},
        left_out=left_out,
    )


def _check_names(names: set[str]) -> None:
    known = {*TLS, *NUMBERS, *PLAIN, *NAMES, *ALLOWED, *LEFT_OUT, "service"}
    if not known.issuperset(names):  # its name may be a piece of a password with an unescaped / and ?
        raise SettingsError(
            "DATABASE_URL: has a parameter that libpq does not know; docs/operations.md lists them"
        )


def _check_values(found: Mapping[str, str]) -> None:
    for name, values in ALLOWED.items():
        if name in found and found[name] not in values:
            can = f"only {', '.join(values)} can be kept" if values else "it cannot be kept"
            raise SettingsError(f"DATABASE_URL: {name}: {can} by both drivers")


def _places(found: Mapping[str, str]) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Hosts, their addresses if there are any, and ports."""
    addresses = tuple(found["hostaddr"].split(",")) if "hostaddr" in found else ()
    hosts = tuple((found.get("host") or found.get("hostaddr") or LOCAL_HOSTS).split(","))
    if not all(hosts) or (addresses and len(addresses) != len(hosts)):
        raise SettingsError(
            "DATABASE_URL: host and hostaddr must have the same number of entries, none of them empty"
        )
    ports = found.get("port", "").split(",")
    if len(ports) == 1:
        ports *= len(hosts)
    if len(ports) != len(hosts):
        raise SettingsError("DATABASE_URL: port must have one entry, or one for each host")
    for port in filter(None, ports):
        if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
            raise malformed()  # it may be a piece of a password with an unescaped /
    return hosts, addresses, tuple(port or DEFAULT_PORT for port in ports)


def _number(name: str, value: str) -> int:
    try:
        return int(value)
    except ValueError:
        raise SettingsError(f"DATABASE_URL: {name}: must be a whole number") from None


def _verify_instead_of_binding(tls: dict[str, str], hosts: tuple[str, ...]) -> str:
    """Has the server's certificate verified, and returns the words for it.

    asyncpg cannot bind the password's exchange to the TLS connection, which would show that no third party sits in
    between. A certificate that is verified shows that too.
    """
    mode = tls.get("sslmode", "prefer")
    if mode == "disable" or any(host.startswith("/") for host in hosts):
        raise SettingsError("DATABASE_URL: channel_binding: cannot be required without TLS")
    if not mode.startswith("verify-"):
        if tls.setdefault("sslrootcert", "system") == "system":
            tls["sslmode"] = "verify-full"
        else:
            tls["sslmode"] = "verify-ca"
    return f"the server's certificate is verified in its place, as sslmode={tls['sslmode']} has it"


def _check_tls(tls: dict[str, str], addresses: tuple[str, ...], environ: Mapping[str, str]) -> None:
    """Finds the files that TLS needs, so that both drivers have the same, or miss the same in one line."""
    if tls.get("sslrootcert") == "system":
        if tls.setdefault("sslmode", "verify-full") != "verify-full":
            raise SettingsError("DATABASE_URL: sslrootcert: system needs sslmode=verify-full")
        tls["sslrootcert"] = _system_roots(environ)
    mode = tls.get("sslmode", "prefer")
    is_required = mode not in ("disable", "allow", "prefer")
    if mode == "verify-full" and addresses:
        raise SettingsError(
            "DATABASE_URL: hostaddr: cannot be used with sslmode=verify-full, which verifies the name in host"
        )
    if tls.get("sslnegotiation") == "direct" and not is_required:
        raise SettingsError("DATABASE_URL: sslnegotiation: direct needs sslmode=require or stricter")
    if mode.startswith("verify-") and "sslrootcert" not in tls:
        own = Path(environ.get("HOME", "/"), ".postgresql", "root.crt")
        if not own.is_file():
            raise SettingsError(
                "DATABASE_URL: sslrootcert: sslmode=verify-ca and verify-full need a file of roots, or system"
            )
    for name in ("sslrootcert", "sslcrl", "sslcert", "sslkey"):
        if is_required and name in tls and not os.access(tls[name], os.R_OK):
            raise SettingsError(f"DATABASE_URL: {name}: the file cannot be read")


def _system_roots(environ: Mapping[str, str]) -> str:
    candidates = (environ.get("SSL_CERT_FILE"), ssl.get_default_verify_paths().cafile, *ROOTS)
    for file in candidates:
        if file and os.access(file, os.R_OK):
            return file
    raise SettingsError("DATABASE_URL: sslrootcert: this system has no roots; SSL_CERT_FILE may name a file")


def _password(
    found: Mapping[str, str], hosts: tuple[str, ...], ports: tuple[str, ...], environ: Mapping[str, str]
) -> str | None:
    file = found.get("passfile") or (f"{environ['HOME']}/.pgpass" if environ.get("HOME") else None)
    user = found.get("user") or environ.get("USER", "")
    if file is None:
        return None
    return password_in(Path(file), list(zip(hosts, ports, strict=True)), found.get("dbname") or user, user)
