"""Paths and methods that no route has, at the real app over a real socket."""

from __future__ import annotations

from pathlib import Path

import httpx2
import pytest

from relaykit.api.main import create_app
from tests.integration.http_app import serving
from tests.support.repository.error_catalogue import assert_documented_error
from tests.support.servers.protocol_servers import BareServer
from tests.support.system import make_settings


async def ask(key_file: Path, method: str, path: str) -> httpx2.Response:
    settings = make_settings(
        "redis://unused",
        "postgresql://unused/unused",
        key_file,
        1,
        attachments_url="memory:///",
        attachments_key="k" * 43,
    )
    app = create_app(settings, BareServer(store=None))
    async with serving(app) as url, httpx2.AsyncClient() as client:
        return await client.request(method, url + path)


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/chatkit/"), ("GET", "/runs/run_1/"), ("GET", "/healthz/")]
)
async def test_a_slash_too_many_is_answered_and_never_redirected(
    issuer_key_file: Path, method: str, path: str
) -> None:
    """A redirect would be made of the Host header and, behind a proxy that ends TLS, lead a token to http."""
    response = await ask(issuer_key_file, method, path)
    assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found")
    assert "location" not in response.headers
    assert_documented_error(response, response.status_code)


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/attachments/atc_1", "GET, PUT"),
        ("/chatkit", "POST"),
        ("/runs/run_1", "GET"),
        ("/dev/token", "POST"),
        ("/", "GET, HEAD"),
    ],
)
async def test_a_wrong_method_names_all_right_ones(issuer_key_file: Path, path: str, methods: str) -> None:
    response = await ask(issuer_key_file, "DELETE", path)
    assert (response.status_code, response.headers["Allow"]) == (405, methods)
    assert_documented_error(response, response.status_code)


async def test_the_description_is_served(issuer_key_file: Path) -> None:
    """To whoever asks: a client is written before it has a token."""
    response = await ask(issuer_key_file, "GET", "/openapi.json")
    assert response.status_code == 200
    assert response.json()["openapi"].startswith("3.1")
    assert "/chatkit" in response.json()["paths"]
