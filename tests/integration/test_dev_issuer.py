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

from api.authentication import Authenticator
from api.dev import MAX_TTL_SECONDS, dev_router, thumbprint
from api.errors import install_error_handlers
from api.jwks import JwksClient
from shared.errors import SettingsError
from tests.integration.http_app import serving
from tests.integration.jwks_server import JwksServer, settings_for


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
    app.include_router(dev_router(settings))
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
        answer = await asyncio.wait_for(reader.read(), 5)
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


def test_without_a_key_file_there_is_no_router():
    with pytest.raises(SettingsError):
        dev_router(settings_for(JwksServer()))


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
            dev_router(settings)
        assert caught.value.message.startswith("LOCAL_ISSUER_KEY_FILE: ")
