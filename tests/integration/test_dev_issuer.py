"""Local mode's issuer: its tokens pass the API's own check, and only this machine gets them."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import time
from contextlib import asynccontextmanager

import httpx2
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from fastapi import FastAPI

from relaykit.api.auth.authenticator import Authenticator
from relaykit.api.auth.jwks import JwksClient
from relaykit.api.http.errors import install_error_handlers
from relaykit.api.local.issuer import (
    FORWARDING_HEADERS,
    MAX_TOKEN_REQUEST_BYTES,
    MAX_TTL_SECONDS,
    LocalIssuer,
    dev_router,
    thumbprint,
)
from relaykit.api.local.page import page_router
from relaykit.shared.errors import SettingsError
from tests.integration.http_app import serving
from tests.integration.jwks_server import JwksServer, settings_for
from tests.support.system import WAIT_SECONDS


def write_key(file, key) -> None:
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


@pytest.fixture(scope="module")
def key_file(tmp_path_factory):
    file = tmp_path_factory.mktemp("issuer") / "key.pem"
    write_key(file, rsa.generate_private_key(65537, 2048))
    return file


@asynccontextmanager
async def local_mode(key_file):
    """A client of an app with the local issuer, and settings whose keys come from that app."""
    settings = settings_for(JwksServer(), local_issuer_key_file=key_file)
    app = FastAPI()
    install_error_handlers(app)
    app.include_router(dev_router(LocalIssuer(settings, key_file)))
    app.include_router(page_router())
    async with serving(app) as url, httpx2.AsyncClient(base_url=url) as client:
        yield client, settings.model_copy(update={"jwks_url": f"{url}/dev/jwks.json"})


async def test_its_token_is_accepted_by_the_authenticator_with_its_key_set(key_file):
    async with local_mode(key_file) as (client, settings), JwksClient(settings) as jwks:
        body = {"sub": "alice", "tenant": "acme", "ttl_seconds": 60}
        response = await client.post("/dev/token", json=body)
        identity = await Authenticator(settings, jwks).authenticate(
            f"Bearer {response.json()['access_token']}"
        )
    assert (response.status_code, response.json()["expires_in"]) == (200, 60)
    assert response.headers["Cache-Control"] == "no-store"
    assert (identity.user_id, identity.tenant) == ("alice", "acme")
    assert 50 < identity.expires_at - time.time() <= 60


async def test_tenant_and_ttl_have_defaults_and_a_tenant_of_null_is_none(key_file):
    async with local_mode(key_file) as (client, settings), JwksClient(settings) as jwks:
        auth = Authenticator(settings, jwks)
        for body in ({"sub": "alice"}, {"sub": "alice", "tenant": None, "ttl_seconds": 600}):
            response = (await client.post("/dev/token", json=body)).json()
            assert response["expires_in"] == 600
            assert (await auth.authenticate(f"Bearer {response['access_token']}")).tenant is None


async def test_the_key_set_holds_the_public_key_alone_and_its_kid_is_the_thumbprint(key_file):
    async with local_mode(key_file) as (client, _):
        (key,) = (await client.get("/dev/jwks.json")).json()["keys"]
        token = (await client.post("/dev/token", json={"sub": "alice"})).json()["access_token"]
    assert key.keys() == {"kty", "n", "e", "kid", "use", "alg"}
    canonical = json.dumps({"e": key["e"], "kty": "RSA", "n": key["n"]}, separators=(",", ":"))
    digest = hashlib.sha256(canonical.encode()).digest()
    assert key["kid"] == base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    assert jwt.get_unverified_header(token) == {"alg": "RS256", "typ": "JWT", "kid": key["kid"]}


def test_the_thumbprint_is_that_of_the_example_in_rfc_7638():
    modulus = (
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3"
        "oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdA"
        "ZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-"
        "kEgU8awapJzKnqDKgw"
    )
    members = {"n": modulus, "kty": "RSA", "e": "AQAB"}
    assert thumbprint(members) == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"sub": ""},
        {"sub": "x" * 256},
        {"sub": "a\x00b"},
        {"sub": "a\nb"},
        {"sub": 7},
        {"sub": ["alice"]},
        {"sub": "alice", "tenant": ""},
        {"sub": "alice", "tenant": 7},
        {"sub": "alice", "ttl_seconds": 0},
        {"sub": "alice", "ttl_seconds": -1},
        {"sub": "alice", "ttl_seconds": MAX_TTL_SECONDS + 1},
        {"sub": "alice", "ttl_seconds": "600"},
        {"sub": "alice", "ttl_seconds": 1.5},
        {"sub": "alice", "role": "admin"},
        ["alice"],
    ],
)
async def test_a_body_out_of_bounds_is_refused(key_file, body):
    async with local_mode(key_file) as (client, _):
        response = await client.post("/dev/token", json=body)
    assert (response.status_code, response.json()["error"]["code"]) == (422, "invalid_request")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1:8000", "[::1]:8000"])
async def test_a_loopback_host_is_answered(key_file, host):
    async with local_mode(key_file) as (client, _):
        response = await client.post("/dev/token", json={"sub": "alice"}, headers={"Host": host})
    assert response.status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.test",
        "evil.test:8000",
        "localhost.evil.test",
        "127.0.0.1.evil.test",
        "localhost@evil.test",
        "evil.test@localhost",
        "evil.test#localhost",
        "localhost/evil.test",
        "10.0.0.1",
        "[::1",
        "",
    ],
)
@pytest.mark.parametrize("path", ["/dev/token", "/dev/jwks.json"])
async def test_a_host_that_is_not_loopback_is_refused(key_file, host, path):
    async with local_mode(key_file) as (client, _):
        method, body = ("POST", {"sub": "alice"}) if path == "/dev/token" else ("GET", None)
        response = await client.request(method, path, json=body, headers={"Host": host})
    assert response.status_code == 403
    assert response.json()["error"]["code"] == "local_only"


@pytest.mark.parametrize("hosts", [["localhost", "evil.test"], ["evil.test", "localhost"], []])
async def test_more_or_fewer_hosts_than_one_are_refused(key_file, hosts):
    async with local_mode(key_file) as (client, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", client.base_url.port)
        lines = [
            "GET /dev/jwks.json HTTP/1.1",
            *(f"Host: {host}" for host in hosts),
            "Connection: close",
            "",
            "",
        ]
        writer.write("\r\n".join(lines).encode())
        answer = await asyncio.wait_for(reader.read(), WAIT_SECONDS)
        writer.close()
        await writer.wait_closed()
    assert answer.split()[1] in {b"400", b"403"}
    assert b'"kid"' not in answer


@pytest.mark.parametrize("origin", ["http://localhost:3000", "http://127.0.0.1:8000", "http://[::1]:8000"])
async def test_a_page_of_this_machine_is_answered(key_file, origin):
    async with local_mode(key_file) as (client, _):
        response = await client.post("/dev/token", json={"sub": "alice"}, headers={"Origin": origin})
    assert response.status_code == 200


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.test",
        "null",
        "http://localhost.evil.test",
        "file://localhost",
        "http://localhost@evil.test",
        "",
    ],
)
async def test_a_page_from_elsewhere_is_refused(key_file, origin):
    async with local_mode(key_file) as (client, _):
        response = await client.post("/dev/token", json={"sub": "alice"}, headers={"Origin": origin})
    assert (response.status_code, response.json()["error"]["code"]) == (403, "local_only")


FORWARDED = {
    "X-Forwarded-For": "203.0.113.9",
    "X-Forwarded-Host": "chat.example",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Prefix": "/chat",
    "X-Forwarded": "for=203.0.113.9",
    "X-Real-IP": "203.0.113.9",
    "Forwarded": "for=203.0.113.9;proto=https",
    "Via": "1.1 proxy.example",
    "CF-Connecting-IP": "203.0.113.9",
    "CF-Ray": "8f0-ZRH",
    "True-Client-IP": "203.0.113.9",
    "Tailscale-User-Login": "bob@chat.example",
    "X-Client-IP": "203.0.113.9",
}


@pytest.mark.parametrize("path", ["/dev/token", "/dev/jwks.json", "/", "/demo", "/demo/session.js"])
async def test_what_a_proxy_or_a_tunnel_has_forwarded_is_refused(key_file, path):
    """Also where the proxy has put this machine's own name into Host, as nginx, ngrok and cloudflared can."""
    method, body = ("POST", {"sub": "alice"}) if path == "/dev/token" else ("GET", None)
    async with local_mode(key_file) as (client, _):
        assert (await client.request(method, path, json=body)).status_code == 200
        for name in {*FORWARDED, *FORWARDING_HEADERS}:
            headers = {name: FORWARDED.get(name, "1")}
            response = await client.request(method, path, json=body, headers=headers)
            assert (response.status_code, name) == (403, name)
            assert response.json()["error"]["code"] == "local_only"


@pytest.mark.parametrize("request_line", [b"GET / HTTP/1.0", b"POST /dev/token HTTP/1.0"])
async def test_a_request_in_the_http_that_proxies_alone_still_speak_is_refused(key_file, request_line):
    async with local_mode(key_file) as (client, _):
        body = b'{"sub": "alice"}' if request_line.startswith(b"POST") else b""
        head = b"%b\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n" % (request_line, len(body))
        answer = await answer_to(client, head + body)
    assert answer.split()[1] == b"403"
    assert b'"local_only"' in answer


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.test"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost:3000"}, 200),
        ({"Sec-Fetch-Site": "same-site"}, 200),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
    ],
)
async def test_what_a_page_of_another_site_makes_the_browser_ask_is_refused(key_file, headers, status):
    """To a browser localhost is another site than 127.0.0.1, so there the origin decides."""
    async with local_mode(key_file) as (client, _):
        response = await client.post("/dev/token", json={"sub": "alice"}, headers=headers)
        key_set = await client.get("/dev/jwks.json", headers=headers)
    assert (response.status_code, key_set.status_code) == (status, status)


async def test_a_link_from_another_site_still_opens_the_page(key_file):
    async with local_mode(key_file) as (client, _):
        headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
        assert (await client.get("/", headers=headers)).status_code == 200


async def test_the_body_of_a_request_that_is_not_local_is_not_waited_for(key_file):
    head = b"POST /dev/token HTTP/1.1\r\nHost: evil.test\r\nContent-Length: 150000000\r\n\r\n"
    async with local_mode(key_file) as (client, _):
        answer = await answer_to(client, head)
    assert answer.split()[1] == b"403"
    assert b'"local_only"' in answer


async def test_a_body_that_no_request_for_a_token_needs_is_refused_before_its_end(key_file):
    head = b"POST /dev/token HTTP/1.1\r\nHost: localhost\r\nContent-Length: 150000000\r\n\r\n"
    async with local_mode(key_file) as (client, _):
        answer = await answer_to(client, head + b" " * (MAX_TOKEN_REQUEST_BYTES + 1))
    assert answer.split()[1] == b"413"
    assert b'"body_too_large"' in answer


async def test_the_longest_names_fit_in_whatever_spelling(key_file):
    """Twelve bytes are the most that JSON needs for a character: two escaped surrogates."""
    body = {"sub": "\N{GRINNING FACE}" * 255, "tenant": "\N{GRINNING FACE}" * 255, "ttl_seconds": 86_400}
    async with local_mode(key_file) as (client, _):
        response = await client.post("/dev/token", content=json.dumps(body).encode())
    assert response.status_code == 200


@pytest.mark.parametrize("body", [b"", b"{", b'{"sub": "\xff"}', b"[" * 10_000])
async def test_a_body_that_is_not_json_is_refused(key_file, body):
    async with local_mode(key_file) as (client, _):
        response = await client.post("/dev/token", content=body)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_json")


async def answer_to(client, sent: bytes) -> bytes:
    """The head of the answer and what came with it; nothing is sent after `sent`."""
    reader, writer = await asyncio.open_connection("127.0.0.1", client.base_url.port)
    writer.write(sent)
    try:
        return await asyncio.wait_for(reader.readuntil(b"}}"), WAIT_SECONDS)
    finally:
        writer.close()


def test_a_key_file_that_cannot_be_used_is_a_bad_setting(tmp_path):
    file = tmp_path / "key.pem"
    settings = settings_for(JwksServer(), local_issuer_key_file=file)
    for write in (
        lambda: None,
        lambda: file.write_bytes(b"no key"),
        lambda: write_key(file, ec.generate_private_key(ec.SECP256R1())),
        lambda: write_key(file, rsa.generate_private_key(65537, 1024)),
    ):
        write()
        with pytest.raises(SettingsError) as caught:
            LocalIssuer(settings, file)
        assert caught.value.message.startswith("LOCAL_ISSUER_KEY_FILE: ")
