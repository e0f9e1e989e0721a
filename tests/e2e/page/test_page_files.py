"""How the page's files are served."""

from __future__ import annotations

import http.client
import re
from urllib.parse import urlsplit

import httpx2
import pytest

from relaykit.api.local.page import DEMO_DIRECTORY

OUTSIDE = ["/demo/../../pyproject.toml", "/demo/%2e%2e/%2e%2e/pyproject.toml", "/demo/", "/demo/none.js"]
FILES = sorted(str(path.relative_to(DEMO_DIRECTORY)) for path in DEMO_DIRECTORY.rglob("*") if path.is_file())


@pytest.mark.parametrize("path", ["", *(f"demo/{file}" for file in FILES)])
def test_every_file_is_served_under_the_policy(address: str, path: str) -> None:
    response = httpx2.get(f"{address}/{path}")
    assert response.status_code == 200
    policy = response.headers["content-security-policy"].split("; ")
    assert "default-src 'self'" in policy
    assert "unsafe" not in " ".join(policy)
    assert response.headers["x-content-type-options"] == "nosniff"
    if path.endswith(("js", "mjs")):
        assert "javascript" in response.headers["content-type"]
    again = httpx2.get(f"{address}/{path}", headers={"If-None-Match": response.headers["etag"]})
    assert again.status_code == 304
    assert httpx2.head(f"{address}/{path}").status_code == 200


@pytest.mark.parametrize("path", OUTSIDE)
def test_nothing_outside_the_folder_is_served(address: str, path: str) -> None:
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=10)
    connection.request("GET", path)
    assert connection.getresponse().status == 404
    connection.close()


def test_no_file_of_ours_holds_inline_code_or_loads_from_elsewhere() -> None:
    for file in FILES:
        text = (DEMO_DIRECTORY / file).read_text()
        assert not re.search(r"(?:src|href|from|import)[=( ]+[\"'](?:https?:)?//", text), file
        if file.endswith(".html"):
            assert not re.search(r"\son\w+=|\sstyle=|<style|<script(?![^>]*\ssrc=)", text), file
