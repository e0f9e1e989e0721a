"""What REDIS_URL means, and what is said of one that means nothing."""

from __future__ import annotations

import pytest
from redis.asyncio.connection import SSLConnection, UnixDomainSocketConnection

from relaykit.shared.redis_url import parse_redis_url


def test_a_server_s_url_is_redis_py_s() -> None:
    found = parse_redis_url("redis://user:p%40ss@db.example:6380/3")
    assert found.options == {
        "username": "user",
        "password": "p@ss",
        "host": "db.example",
        "port": 6380,
        "db": 3,
    }
    assert (found.sentinels, found.master_name) == ((), "")


def test_a_socket_s_url_is_redis_py_s() -> None:
    found = parse_redis_url("unix:///run/redis.sock?db=2&password=p").options
    assert found == {
        "connection_class": UnixDomainSocketConnection,
        "path": "/run/redis.sock",
        "db": 2,
        "password": "p",
    }


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", True),
        ("?ssl_cert_reqs=required", True),
        ("?ssl_cert_reqs=none", None),
        ("?ssl_check_hostname=false", False),
    ],
)
def test_tls_compares_the_name_of_the_host_unless_the_url_says_otherwise(
    query: str, expected: bool | None
) -> None:
    found = parse_redis_url(f"rediss://db.example/0{query}").options
    assert found["connection_class"] is SSLConnection
    assert found.get("ssl_check_hostname") is expected


def test_sentinels_are_named_with_the_master_s_name_and_the_database() -> None:
    """The sign-in is for the servers, that of the sentinels has parameters of its own."""
    found = parse_redis_url(
        "redis+sentinel://user:p%40ss@one.example:26380,two.example,[2001:db8::3]:26381/my-master.1/4"
        "?sentinel_username=asker&sentinel_password=s%26cret&client_name=shop"
    )
    assert found.sentinels == (("one.example", 26380), ("two.example", 26379), ("2001:db8::3", 26381))
    assert found.master_name == "my-master.1"
    assert found.options == {"username": "user", "password": "p@ss", "db": 4, "client_name": "shop"}
    assert found.sentinel_options == {"username": "asker", "password": "s&cret"}


def test_tls_is_for_the_sentinels_too() -> None:
    found = parse_redis_url("rediss+sentinel://one/main?ssl_ca_certs=/ca.pem")
    tls = {"connection_class": SSLConnection, "ssl_ca_certs": "/ca.pem", "ssl_check_hostname": True}
    assert found.options == tls
    assert found.sentinel_options == tls


def test_addresses_that_lead_to_the_same_primary_have_the_same_place() -> None:
    places = [
        parse_redis_url(url).place
        for url in (
            "redis+sentinel://u:p@one,two/main/0",
            "redis+sentinel://one,two/main/5",
            "redis+sentinel://one,two/other/0",
            "redis://one/0",
            "unix:///one",
        )
    ]
    assert places[0] == places[1]
    assert len(set(places)) == 4


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("redis+sentinel://secret-host:26379", "has no master name"),
        ("redis+sentinel://secret-host:26379/", "has no master name"),
        ("redis+sentinel://secret-host:26379?db=1", "has no master name"),
        ("redis+sentinel://secret-host:26379//0", "has no master name"),
        ("redis+sentinel:///main/0", "host:port"),
        ("redis+sentinel://secret-host:26379,/main/0", "host:port"),
        ("redis+sentinel://secret-host:0/main/0", "host:port"),
        ("redis+sentinel://secret-host:65536/main/0", "host:port"),
        ("redis+sentinel://secret-host:port/main/0", "host:port"),
        ("redis+sentinel://user:secret/pass@host:1/main/0", "characters"),
        ("redis+sentinel://[secret/main/0", "host:port"),
        ("redis+sentinel://secret-host/main secret/0", "characters"),
        ("redis+sentinel://secret-host/main/zero", "number of a database"),
        ("redis+sentinel://secret-host/main/0/1", "number of a database"),
        ("redis+sentinel://secret-host/main/0?secret_parameter=1", "has a parameter that is none of"),
        ("redis+sentinel://secret-host/main/0?ssl_ca_certs=/secret", "ssl_ parameters"),
        ("redis+sentinel://secret-host/main/0?db=secret", "db that is no number"),
        ("sentinel://secret-host/main/0", "must start with"),
        ("redis-sentinel://secret-host/main/0", "must start with"),
        ("REDIS://secret-host", "must start with"),
        ("redis://secret-host/main", "must end with"),
        ("redis://secret-host:port/0", "is not a Redis URL"),
        ("redis://secret-host/0?socket_timeout=secret", "has a parameter that is none of"),
        ("redis://secret-host/0?protocol=3&decode_responses=secret", "has a parameter that is none of"),
        ("redis://secret-host/0?sentinel_password=secret", "has a parameter that is none of"),
        ("redis://secret-host/0?ssl_ca_certs=/secret", "ssl_ parameters"),
        ("rediss://secret-host/0?ssl_cert_reqs=secret", "ssl_cert_reqs"),
        ("unix://?password=secret", "must name a socket"),
    ],
)
def test_what_means_nothing_is_told_without_the_value(url: str, words: str) -> None:
    with pytest.raises(ValueError) as found:  # noqa: PT011  # its text is what is asked for below
        parse_redis_url(url)
    text = str(found.value)
    assert words in text
    assert "secret" not in text
    assert "\n" not in text
