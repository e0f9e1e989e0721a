"""Every route with odd headers, queries, paths and methods, byte by byte: never a 500, errors only of the one shape."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from tests.support.clients.raw_http import RawAnswer, raw_request
from tests.support.examples import examples
from tests.support.fuzzing import fresh_settings, served, signed_in
from tests.support.repository.error_catalogue import assert_documented_error
from tests.support.services.databases import Databases, RedisDatabases
from tests.support.system import Answer, create

Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True)
class Target:
    method: str
    path: str
    body: bytes = b""


@dataclass(frozen=True)
class Ground:
    url: str
    token: bytes
    targets: tuple[Target, ...]
    run_id: str


@pytest.fixture(scope="module")
def ground(
    databases: Databases, redis_databases: RedisDatabases, issuer_key_file: Path, tmp_path_factory: Any
) -> Iterator[Ground]:
    folder = tmp_path_factory.mktemp("attachments")
    with (
        fresh_settings(databases, redis_databases, issuer_key_file, folder) as settings,
        served(settings) as system,
        signed_in(system) as client,
    ):
        response = client.post("/chatkit", json=create("hello"))
        answer = Answer(response.status_code, response.headers, response.content)
        file = {"name": "a.txt", "size": 3, "mime_type": "image/png"}
        posted = client.post("/chatkit", json={"type": "attachments.create", "params": file})
        attachment = posted.json()
        put, get = (
            str(link).removeprefix(system.urls[0])
            for link in (attachment["upload_descriptor"]["url"], attachment["preview_url"])
        )
        targets = (
            Target("POST", "/chatkit", json.dumps(create("hello")).encode()),
            Target("POST", "/chatkit", json.dumps({"type": "threads.list", "params": {}}).encode()),
            Target("GET", f"/runs/{answer.run_id}/events"),
            Target("GET", f"/runs/{answer.run_id}"),
            Target("POST", f"/runs/{answer.run_id}/cancel"),
            Target("GET", f"/threads/{answer.thread_id}/run"),
            *(Target("PUT", path, b"abc") for path in (put, put.partition("?")[0])),
            *(Target("GET", path) for path in (get, get.partition("?")[0])),
            Target("POST", "/dev/token", b'{"sub": "alice"}'),
            *(Target("GET", path) for path in ("/dev/jwks.json", "/healthz", "/readyz", "/metrics")),
            *(Target("GET", path) for path in ("/openapi.json", "/", "/demo/page.js")),
        )
        token = client.headers["Authorization"].removeprefix("Bearer ").encode()
        yield Ground(system.urls[0], token, targets, answer.run_id)


NAMES = st.sampled_from(
    [
        *(b"Last-Event-ID", b"Idempotency-Key", b"Accept-Language", b"Authorization", b"Relaykit-Resume"),
        *(b"Content-Type", b"Content-Encoding", b"Accept", b"Accept-Encoding", b"Origin", b"Host", b"Cookie"),
        *(b"Range", b"If-Range", b"If-None-Match", b"If-Modified-Since", b"Expect", b"X-Forwarded-For"),
        *(b"X-Forwarded-Proto", b"X-Forwarded-Host", b"Forwarded", b"X-HTTP-Method-Override", b"Referer"),
        *(b"Access-Control-Request-Method", b"Access-Control-Request-Headers", b"chatkit-frame-instance-id"),
        *(b"Upgrade", b"User-Agent", b"X-Request-Id", b"traceparent", b"Via", b"TE", b"DNT"),
    ]
)
SPECIAL = [
    *(
        b"",
        b" ",
        b"0",
        b"-1",
        b"1-1",
        b"0-0",
        b"999999999-999999999999",
        b"1" * 5000,
        b"x" * 20_000,
        b"*",
        b"null",
    ),
    *(
        b"bytes=0-",
        b"bytes=-1",
        b"bytes=9-1",
        b"bytes=a",
        b"bytes=" + b"0-0," * 500,
        b"gzip",
        b"application/json",
    ),
    *(
        b"Bearer",
        b"Bearer ",
        b"Bearer x",
        b"Basic eDp5",
        b"Bearer a.b.c",
        b"bearer\t..",
        b"Bearer " + b"a" * 17_000,
    ),
    *(b"multipart/form-data", b"multipart/form-data; boundary=x", b"application/x-www-form-urlencoded"),
    *(
        b"text/plain; charset=utf-16",
        b"application/json; charset=none",
        b"de-DE,de;q=0.9",
        b"de;q=x,,;",
        b"websocket",
    ),
    *(
        b"http://127.0.0.1:1",
        b"localhost",
        b"[::1",
        b"a@localhost",
        b"localhost:x",
        b"100-continue",
        b'"',
        b'W/"x',
    ),
    *(
        "ü €".encode(),
        b"\xff\xfe",
        b"a\x00b",
        b"a\x7fb",
        b"\x1b[31m",
        b"%00%ff",
        b"Thu, 99 Jan 9999 99:99:99 GMT",
    ),
]
VALUES = st.sampled_from(SPECIAL) | st.binary(max_size=20).map(
    lambda value: value.replace(b"\r", b"").replace(b"\n", b"")
)
QUERIES = st.one_of(
    st.just(b""),
    st.binary(max_size=12).map(lambda raw: b"?" + quote_from_bytes(raw, safe="=&").encode()),
    st.builds(
        lambda name, value: b"?%b=%b" % (name, quote_from_bytes(value).encode()),
        st.sampled_from(
            [b"after", b"expires", b"signature", b"signature=x&expires", b"%00", b"after=1-1&after"]
        ),
        VALUES,
    ),
    st.sampled_from(
        [b"?", b"??", b"?&&==", b"?after", b"?%", b"?%zz=%", b"?" + b"a=1&" * 2000, b"?after[]=1", b"#x"]
    ),
)
METHODS = st.sampled_from(["GET", "POST", "PUT", "HEAD", "OPTIONS", "DELETE", "PATCH", "TRACE"])


def check(answer: RawAnswer, target: Target, headers: Headers) -> None:
    event(f"{answer.status}")
    assert answer.status < 500, answer.text
    if answer.status < 400:
        return
    if any(name == b"Range" for name, _ in headers) and target.path in ("/", "/demo/page.js"):
        return  # files answer this themselves, as docs/protocol.md says
    if target.method != "HEAD":
        assert_documented_error(answer, answer.status)


@examples(200)
@given(st.data())
def test_odd_headers_and_queries(ground: Ground, data: st.DataObject) -> None:
    """With a good token, unless one of the odd headers is another."""
    target = data.draw(st.sampled_from(ground.targets))
    headers = data.draw(st.lists(st.tuples(NAMES, VALUES), min_size=1, max_size=3))
    if all(name != b"Authorization" for name, _ in headers) or data.draw(st.booleans()):
        headers.append((b"Authorization", b"Bearer " + ground.token))
    query = data.draw(QUERIES)
    path = target.path.encode() + (query.replace(b"?", b"&", 1) if "?" in target.path else query)
    check(raw_request(ground.url, target.method, path, headers, target.body), target, headers)


SEGMENTS = st.one_of(
    st.sampled_from(
        [
            b"runs",
            b"threads",
            b"attachments",
            b"chatkit",
            b"events",
            b"cancel",
            b"run",
            b"demo",
            b"dev",
            b"token",
        ]
    ),
    st.sampled_from(
        [b"", b".", b"..", b"%2e%2e", b"%2F", b"%00", b"%ff", b"%", b"%zz", b"*", b"x" * 2000, b"%5c", b";a"]
    ),
    st.binary(max_size=8).map(lambda raw: quote_from_bytes(raw).encode()),
)


@examples(150)
@given(METHODS, st.lists(SEGMENTS, max_size=4), st.booleans(), st.binary(max_size=10))
def test_odd_paths_and_methods(
    ground: Ground, method: str, segments: list[bytes], run: bool, body: bytes
) -> None:
    path = b"/" + b"/".join([*([b"runs", ground.run_id.encode()] if run else []), *segments])
    target = Target(method, path.decode("latin-1"))
    headers = [(b"Authorization", b"Bearer " + ground.token)]
    check(raw_request(ground.url, method, path, headers, body), target, headers)
