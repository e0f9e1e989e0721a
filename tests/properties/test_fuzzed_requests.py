"""Fuzzed ChatKit requests over HTTP: never a 500, nothing written by what is refused, all readable that is taken."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from tests.properties.chatkit_requests import (
    MISFITS,
    changed,
    places,
)
from tests.properties.fuzz_world import FuzzWorld, fuzz_world
from tests.support.examples import examples
from tests.support.fuzzing import fresh_settings
from tests.support.services.databases import Databases, RedisDatabases


@pytest.fixture(scope="module")
def world(
    databases: Databases, redis_databases: RedisDatabases, issuer_key_file: Path, tmp_path_factory: Any
) -> Iterator[FuzzWorld]:
    folder = tmp_path_factory.mktemp("attachments")
    with (
        fresh_settings(
            databases, redis_databases, issuer_key_file, folder, max_body_bytes=64 * 1024
        ) as settings,
        fuzz_world(settings) as world,
    ):
        yield world


def inner_places(request: Any) -> list[tuple[Any, ...]]:
    """The places but for the request itself and its type, which test_parse.py spoils."""
    return [path for path in places(request) if path not in ((), ("type",), ("params",))]


def free_places(request: Any) -> list[tuple[Any, ...]]:
    """Where the client may say what it likes."""
    free = ("result", "payload", "title", "text", "name", "quoted_text", "model")
    tags = [(*path, "odd") for path in places(request) if path and path[-1] == "data"]
    return [("metadata", "odd"), *tags, *(path for path in places(request) if path and path[-1] in free)]


@examples(100)
@given(st.data())
def test_a_valid_request(world: FuzzWorld, data: st.DataObject) -> None:
    post(world, json.dumps(data.draw(world.requests())).encode())


@examples(100)
@given(st.data())
def test_a_request_with_one_thing_changed(world: FuzzWorld, data: st.DataObject) -> None:
    request = data.draw(world.requests())
    path = data.draw(st.sampled_from(inner_places(request) or [("params",)]))
    request = changed(request, path, data.draw(MISFITS), removed=data.draw(st.booleans()))
    post(world, json.dumps(request).encode())


ODD_JSON: dict[str, bytes] = {
    "U+0000": b'"\\u0000"',
    "U+0000 within a text": b'"a\\u0000b"',
    "a number beyond 64 bits": b"18446744073709551616",
    "a number beyond 64 bits, negative": b"-9223372036854775809",
    "a number of 4,300 digits": b"9" * 4300,
    "a fraction of 5,000 digits": b"0." + b"9" * 5000,
    "a number beyond the doubles": b"1e999",
    "nearly nothing": b"1e-999",
    "minus nothing": b"-0.0",
    "190 brackets": b"[" * 190 + b"]" * 190,
    "190 objects": b'{"a":' * 190 + b"1" + b"}" * 190,
    "a key twice": b'{"a":1,"a":2}',
    "a type twice": b'{"type":"input_text","type":"input_tag","text":"x"}',
    "a prototype": b'{"__proto__":{"x":1},"constructor":1,"__class__":"x"}',
    "an empty key": b'{"":1}',
    "a key with U+0000": b'{"\\u0000":1}',
    "many entries": b"[" + b"0," * 9000 + b"0]",
    "a long text": b'"' + b"x" * 20_000 + b'"',
    "a long text of other scripts": ('"' + "\U0001f600\u202e\ufeff" * 2000 + '"').encode(),
    "line breaks": '"\\r\\n\\n: end completed\\n\\u2028\u2028\u0085"'.encode(),
}
NO_JSON: dict[str, bytes] = {
    "a bare U+0000": b'"\x00"',
    "a lone surrogate": b'"\\ud800"',
    "surrogates the wrong way round": b'"\\udc00\\ud800"',
    "a key that is a lone surrogate": b'{"\\udfff":1}',
    "bytes that are not UTF-8": b'"\xff\xfe"',
    "a surrogate in UTF-8": b'"\xed\xa0\x80"',
    "an overlong U+0000": b'"\xc0\x80"',
    "a number of 5,000 digits": b"9" * 5000,
    "NaN": b"NaN",
    "Infinity": b"-Infinity",
    "5,000 brackets": b"[" * 5000 + b"]" * 5000,
    "5,000 objects": b'{"a":' * 5000 + b"1" + b"}" * 5000,
    "nothing at all": b"",
    "a comment": b"/* x */ 1",
    "single quotes": b"'x'",
}
ODD = st.one_of(
    *[st.sampled_from(sorted(ODD_JSON)).map(ODD_JSON.__getitem__)] * 3,
    st.sampled_from(sorted(NO_JSON)).map(NO_JSON.__getitem__),
)


@examples(120)
@given(st.data())
def test_a_request_with_something_odd_in_it(world: FuzzWorld, data: st.DataObject) -> None:
    """What Python's own encoder would not write: where any JSON may stand, or anywhere else."""
    request = data.draw(world.requests())
    request.setdefault("metadata", {})
    path = data.draw(st.one_of(st.sampled_from(free_places(request)), st.sampled_from(inner_places(request))))
    body = json.dumps(changed(request, path, "<odd>", removed=False)).encode()
    post(world, body.replace(b'"<odd>"', data.draw(ODD)))


MORE_KEYS = [
    "metadata",
    "thread_id",
    "item_id",
    "after",
    "id",
    "type",
    "params",
    "input",
    "",
    "\x00",
    "__class__",
]


@examples(60)
@given(st.data())
def test_a_request_with_something_more_in_it(world: FuzzWorld, data: st.DataObject) -> None:
    """Another key beside those that belong there, or one of them again."""
    request = data.draw(world.requests())
    path = data.draw(
        st.sampled_from([path for path in places(request) if isinstance(at(request, path), dict)])
    )
    key = data.draw(st.sampled_from([*at(request, path), *MORE_KEYS]))
    body = json.dumps(changed(request, (*path, "<key>"), "<odd>", removed=False)).encode()
    post(world, body.replace(b'"<key>"', json.dumps(key).encode()).replace(b'"<odd>"', data.draw(ODD)))


SPLINTERS = st.sampled_from([b'"', b"{", b"}", b"[", b",", b":", b"\\", b"\\u", b"e9", b"\x00", b"\xc3"])


@examples(60)
@given(st.data())
def test_a_body_with_bytes_changed(world: FuzzWorld, data: st.DataObject) -> None:
    request = data.draw(world.requests())
    body = bytearray(json.dumps(request, ensure_ascii=data.draw(st.booleans())).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(body)))
        end = start + data.draw(st.integers(0, 3))
        body[start:end] = data.draw(SPLINTERS | st.binary(max_size=3))
    post(world, bytes(body))


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def post(world: FuzzWorld, body: bytes) -> None:
    world.reset()
    before = world.fingerprint()
    response = world.client.post("/chatkit", content=body)
    event(f"{response.status_code} {response.headers['content-type']}")
    world.check(response, before)
