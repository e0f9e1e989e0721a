"""What REDIS_URL means: one server, or the sentinels that know where the primary is.

redis-py reads the URL of a server, and has none for sentinels. For those this is the form of docket, Prefect, RedisVL
and LangChain (docs/decisions/0044-redis-in-production.md).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlencode

from redis.asyncio.connection import parse_url

SENTINEL_PORT: Final = 26379
SENTINEL_FORM: Final = "redis+sentinel://user:password@host:port,host:port/master-name/0"
SIGN_IN: Final = frozenset({"username", "password"})
OF_SENTINELS: Final = frozenset({"sentinel_username", "sentinel_password"})
OF_TLS: Final = frozenset(
    {"ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname"}
)
OF_A_SERVER: Final = frozenset({"db", "client_name", "socket_keepalive"}) | SIGN_IN
"""redis-py knows more. What is left out is the product's own (time-outs, pools, the protocol), or no text."""
VERIFICATIONS: Final = frozenset({"none", "optional", "required"})

_SCHEME = re.compile(r"(?:(rediss?)(\+sentinel)?|unix)://")
_SENTINELS = re.compile(r"rediss?\+sentinel://([^/?#]*)(?:/([^?#]*))?(?:\?([^#]*))?")
_MEMBER = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^\[\]:@,\s]+)(?::([0-9]{1,5}))?")
_MASTER_NAME = re.compile(r"[A-Za-z0-9._-]+")  # Sentinel takes no other characters
_DATABASE = re.compile(r"/*[0-9]*/*")


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """Where the primary is, or who knows it. What holds a password is in no repr."""

    options: Mapping[str, Any] = field(repr=False)
    """Of a connection to a server, as redis-py takes them; without host and port where there are sentinels."""
    sentinels: tuple[tuple[str, int], ...] = ()
    master_name: str = ""
    sentinel_options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Of a connection to a sentinel."""

    @property
    def place(self) -> tuple[Any, ...]:
        """The same for all addresses that lead to the same primary."""
        return (
            *(self.options.get(name) for name in ("path", "host", "port")),
            self.sentinels,
            self.master_name,
        )


def parse_redis_url(url: str) -> RedisAddress:
    """Raises ValueError with what the setting must be, which shows nothing of the URL."""
    scheme = _SCHEME.match(url)
    if scheme is None:
        raise ValueError(
            "must start with redis://, rediss://, unix://, redis+sentinel:// or rediss+sentinel://"
        )
    is_tls, has_sentinels = scheme[1] == "rediss", scheme[2] is not None
    _check_parameters(url.partition("?")[2].partition("#")[0], is_tls=is_tls, has_sentinels=has_sentinels)
    return _of_sentinels(url, is_tls=is_tls) if has_sentinels else _of_a_server(url, is_tls=is_tls)


def _check_parameters(query: str, *, is_tls: bool, has_sentinels: bool) -> None:
    given = dict(parse_qsl(query, keep_blank_values=True))
    if not is_tls and not given.keys().isdisjoint(OF_TLS):
        raise ValueError("has ssl_ parameters, which need rediss:// or rediss+sentinel://")
    known = (
        OF_A_SERVER | (OF_TLS if is_tls else frozenset()) | (OF_SENTINELS if has_sentinels else frozenset())
    )
    if not known.issuperset(given):
        raise ValueError(f"has a parameter that is none of {', '.join(sorted(known))}")
    if given.get("ssl_cert_reqs", "required") not in VERIFICATIONS:
        raise ValueError("has an ssl_cert_reqs that is none of required, optional and none")
    if not given.get("db", "0").isdecimal():
        raise ValueError("has a db that is no number")


def _of_a_server(url: str, *, is_tls: bool) -> RedisAddress:
    options = _options(url, is_tls=is_tls)
    path = url.partition("://")[2].partition("?")[0].partition("/")[2]
    if url.startswith("unix://"):
        if "path" not in options:
            raise ValueError("must name a socket: unix:///run/redis/redis.sock")
    elif not _DATABASE.fullmatch(path):
        raise ValueError("must end with its host, or with the number of a database")
    return RedisAddress(options)


def _of_sentinels(url: str, *, is_tls: bool) -> RedisAddress:
    found = _SENTINELS.fullmatch(url.partition("#")[0])
    assert found is not None  # all of it may be empty
    sign_in, at, hosts = found[1].rpartition("@")
    name, _, database = unquote(found[2] or "").partition("/")
    if not name:
        raise ValueError(f"has no master name: {SENTINEL_FORM}")
    if not _MASTER_NAME.fullmatch(name):
        raise ValueError("has a master name with characters other than letters, digits, ., _ and -")
    if not _DATABASE.fullmatch(database):
        raise ValueError(f"must have the number of a database after the master name: {SENTINEL_FORM}")
    given = parse_qsl(found[3] or "")
    others = urlencode([(name, value) for name, value in given if name not in OF_SENTINELS])
    scheme = "rediss" if is_tls else "redis"
    # redis-py reads all but the hosts and the name, as it does for one server
    options = _options(f"{scheme}://{sign_in}{at}sentinel/{database}?{others}", is_tls=is_tls)
    del options["host"]
    tls = {name: value for name, value in options.items() if name in {*OF_TLS, "connection_class"}}
    own = {name.removeprefix("sentinel_"): value for name, value in given if name in OF_SENTINELS}
    return RedisAddress(options, tuple(_members(hosts)), name, {**tls, **own})


def _members(hosts: str) -> Iterator[tuple[str, int]]:
    for member in hosts.split(","):
        found = _MEMBER.fullmatch(member)
        port = int(found[2] or SENTINEL_PORT) if found else 0
        if found is None or not 0 < port < 65536:
            raise ValueError(f"must name its sentinels as host:port, separated by commas: {SENTINEL_FORM}")
        yield found[1].strip("[]"), port


def _options(url: str, *, is_tls: bool) -> dict[str, Any]:
    """As redis-py reads them. It leaves the host's name uncompared with the certificate's, before its version 6."""
    try:
        options: dict[str, Any] = dict(parse_url(url))
    except ValueError:  # its text may hold a part of the value
        raise ValueError("is not a Redis URL") from None
    is_verified = is_tls and options.get("ssl_cert_reqs") != "none"
    return {"ssl_check_hostname": True, **options} if is_verified else options
