"""Connection parameters as libpq reads them: the URL, a service file, PG* variables, a password file."""

from __future__ import annotations

import configparser
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from relaykit.shared.errors import SettingsError

SCHEMES: Final = ("postgresql://", "postgres://")
VARIABLES: Final = {
    "application_name": "PGAPPNAME",
    "channel_binding": "PGCHANNELBINDING",
    "client_encoding": "PGCLIENTENCODING",
    "connect_timeout": "PGCONNECT_TIMEOUT",
    "dbname": "PGDATABASE",
    "gssdelegation": "PGGSSDELEGATION",
    "gssencmode": "PGGSSENCMODE",
    "gsslib": "PGGSSLIB",
    "host": "PGHOST",
    "hostaddr": "PGHOSTADDR",
    "krbsrvname": "PGKRBSRVNAME",
    "load_balance_hosts": "PGLOADBALANCEHOSTS",
    "max_protocol_version": "PGMAXPROTOCOLVERSION",
    "min_protocol_version": "PGMINPROTOCOLVERSION",
    "options": "PGOPTIONS",
    "passfile": "PGPASSFILE",
    "password": "PGPASSWORD",
    "port": "PGPORT",
    "require_auth": "PGREQUIREAUTH",
    "requirepeer": "PGREQUIREPEER",
    "sslcert": "PGSSLCERT",
    "sslcertmode": "PGSSLCERTMODE",
    "sslcompression": "PGSSLCOMPRESSION",
    "sslcrl": "PGSSLCRL",
    "sslcrldir": "PGSSLCRLDIR",
    "sslkey": "PGSSLKEY",
    "ssl_max_protocol_version": "PGSSLMAXPROTOCOLVERSION",
    "ssl_min_protocol_version": "PGSSLMINPROTOCOLVERSION",
    "sslmode": "PGSSLMODE",
    "sslnegotiation": "PGSSLNEGOTIATION",
    "sslrootcert": "PGSSLROOTCERT",
    "sslsni": "PGSSLSNI",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
    "user": "PGUSER",
}
"""For each parameter: the variable in which libpq looks for one that neither the URL nor the service has."""
_HOST = re.compile(r"(?:\[([^\]]+)\](?=[:/?,]|$)|(?!\[)([^:/?,]*))(?::([^/?,]*))?")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})|%00")
_FIELD = re.compile(r"((?:\\.|[^:\\])*)(?::|$)", re.DOTALL)


def parse_url(url: str) -> dict[str, str]:
    """The parameters of a URL, unescaped, with those that are empty; of one that comes twice the last.

    As libpq's conninfo_uri_parse_options: a password may hold `#`, `?`, `[` and `+` unescaped. Hosts and ports of
    several servers are separated by commas. Raises SettingsError, which shows no part of the URL.
    """
    rest = next((url.removeprefix(scheme) for scheme in SCHEMES if url.startswith(scheme)), None)
    if rest is None:
        raise malformed()
    found: dict[str, str] = {}
    credentials = re.match(r"[^@/]*(?=@)", rest)
    if credentials is not None:
        rest = rest[credentials.end() + 1 :]
        found["user"], _, found["password"] = credentials.group().partition(":")
    hosts, ports = [], []
    while True:
        place = _HOST.match(rest)
        if place is None:
            raise malformed()
        hosts.append(place[1] or place[2])
        ports.append(place[3] or "")
        rest = rest[place.end() :]
        if not rest.startswith(","):
            break
        rest = rest[1:]
    found["host"], found["port"] = ",".join(hosts), ",".join(ports)
    path, _, query = rest.partition("?")
    found["dbname"] = path.removeprefix("/")
    found = {name: _unescaped(value) for name, value in found.items()}
    found.update(_query(query))
    return found


def with_defaults(given: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """The parameters, with those of the service that they or PGSERVICE name, then with those of PG* variables.

    Raises SettingsError for a service that is not there.
    """
    found = {name: value for name, value in given.items() if value}
    service = found.pop("service", None) or environ.get("PGSERVICE")
    if service:
        found = {**_service(service, environ), **found}
    for name, variable in VARIABLES.items():
        if name not in found and environ.get(variable):
            found[name] = environ[variable]
    return found


def password_in(file: Path, servers: Iterable[tuple[str, str]], database: str, user: str) -> str | None:
    """The password that a password file has for one of the servers, which are hosts and ports.

    None where the file is not there, or where others may read it: libpq passes over such a file.
    """
    try:
        if not file.is_file() or file.stat().st_mode & 0o077:
            return None
        lines = file.read_text().splitlines()
    except OSError:
        return None
    entries = [_fields(line) for line in lines if line.strip() and not line.startswith("#")]
    for host, port in servers:
        names = {host, "localhost"} if host.startswith("/") else {host}
        for entry in entries:
            if len(entry) >= 5 and _matches(entry, names, port, database, user):
                return entry[4]
    return None


def malformed() -> SettingsError:
    """Without a word of why: whatever is wrong with the URL may be a piece of its password."""
    return SettingsError("DATABASE_URL: is not a PostgreSQL URL")


def _query(query: str) -> Iterable[tuple[str, str]]:
    for pair in query.removesuffix("&").split("&") if query else ():
        name, equals, value = pair.partition("=")
        if not equals or "=" in value:
            raise malformed()
        name, value = _unescaped(name), _unescaped(value)
        yield ("sslmode", "require") if (name, value) == ("ssl", "true") else (name, value)


def _unescaped(text: str) -> str:
    if _BAD_ESCAPE.search(text):
        raise malformed()
    try:
        return unquote(text.strip(" "), errors="strict")
    except UnicodeDecodeError:
        raise malformed() from None


def _service(name: str, environ: Mapping[str, str]) -> dict[str, str]:
    home = environ.get("HOME")
    files = [
        environ.get("PGSERVICEFILE") or (f"{home}/.pg_service.conf" if home else None),
        f"{environ['PGSYSCONFDIR']}/pg_service.conf" if environ.get("PGSYSCONFDIR") else None,
    ]
    for file in filter(None, files):
        services = configparser.RawConfigParser(
            delimiters=("=",), comment_prefixes=("#",), default_section="", strict=False
        )
        try:
            services.read(file)
        except (configparser.Error, OSError, UnicodeDecodeError):
            raise SettingsError("DATABASE_URL: service: the service file cannot be read") from None
        if services.has_section(name):
            return dict(services[name])
    raise SettingsError("DATABASE_URL: service: no service file defines it")


def _fields(line: str) -> Sequence[str]:
    """The fields of a line; a backslash escapes what comes after it."""
    return [re.sub(r"\\(.)", r"\1", field) for field in _FIELD.findall(line)]


def _matches(entry: Sequence[str], hosts: set[str], port: str, database: str, user: str) -> bool:
    return (
        (entry[0] == "*" or entry[0] in hosts)
        and entry[1] in ("*", port)
        and entry[2] in ("*", database)
        and entry[3] in ("*", user)
    )
