"""How the page's files are served, and the parts of it that are pure."""

from __future__ import annotations

import http.client
import re
from urllib.parse import urlsplit

import httpx2
import pytest
from playwright.sync_api import Browser

from api.page import DEMO_DIRECTORY

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
        if file.startswith("vendor/"):
            continue
        text = (DEMO_DIRECTORY / file).read_text()
        assert not re.search(r"(?:src|href|from|import)[=( ]+[\"'](?:https?:)?//", text), file
        if file.endswith(".html"):
            assert not re.search(r"\son\w+=|\sstyle=|<style|<script(?![^>]*\ssrc=)", text), file


STREAM = (
    'retry: 700\n\n: ping\n\nid: 0-1\ndata: {"a":\ndata:1}\n\nid: 0-2\r\ndata: zwölf €\r\n\r\n'
    "event: other\ndata: x\n\n: end completed\n\n"
)
EXPECTED = [
    ["retry", 700],
    ["comment", "ping"],
    ["event", "0-1", '{"a":\n1}'],
    ["event", "0-2", "zwölf €"],
    ["event", "0-2", "x"],
    ["comment", "end completed"],
]
PARSE = """async ({stream, size}) => {
  const {SseParser} = await import("/demo/sse.js");
  const heard = [];
  const parser = new SseParser({
    onEvent: ({id, data}) => heard.push(["event", id, data]),
    onComment: (text) => heard.push(["comment", text]),
    onRetry: (ms) => heard.push(["retry", ms]),
  });
  const bytes = new TextEncoder().encode(stream);
  for (let at = 0; at < bytes.length; at += size) parser.feed(bytes.slice(at, at + size));
  return heard;
}"""
COMPARE = """async (cursors) => {
  const {compareCursors} = await import("/demo/sse.js");
  return cursors.sort(compareCursors);
}"""


@pytest.mark.browser
def test_the_stream_is_parsed_alike_however_it_is_cut(browser: Browser, address: str) -> None:
    page = browser.new_page(base_url=address)
    page.goto("/demo/icon.svg")
    page.goto("/")
    for size in range(1, len(STREAM)):
        assert page.evaluate(PARSE, {"stream": STREAM, "size": size}) == EXPECTED, f"chunks of {size} bytes"
    page.close()


@pytest.mark.browser
def test_cursors_are_compared_as_pairs_of_numbers(browser: Browser, address: str) -> None:
    page = browser.new_page(base_url=address)
    page.goto("/")
    ordered = ["0-1", "0-3", "1-2", "1-9", "1-10", "2-1", "10-1"]
    assert page.evaluate(COMPARE, sorted(ordered, reverse=True)) == ordered
    page.close()
