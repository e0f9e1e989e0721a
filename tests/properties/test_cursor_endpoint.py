"""`GET /runs/{id}/events` with any text for a cursor: 200 with exactly what follows it, 204, 400 or 410."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes

import pytest
import redis
from hypothesis import event, given
from hypothesis import strategies as st

from relaykit.shared.errors import InvalidCursor
from relaykit.shared.journal import START, Cursor
from relaykit.shared.redis import keys
from tests.properties.test_cursor import CURSORS, NEAR_MISSES
from tests.support.clients.raw_http import RawAnswer, raw_request
from tests.support.examples import examples
from tests.support.fuzzing import fresh_settings, served, signed_in
from tests.support.repository.error_catalogue import assert_documented_error
from tests.support.services.databases import Databases, RedisDatabases
from tests.support.system import Answer, create, parse_frames

Frame = tuple[str, dict[str, Any]]


@dataclass(frozen=True)
class Ground:
    url: str
    token: bytes
    whole: str
    """A run with all of its journal."""
    trimmed: str
    """A run whose journal lacks its first entries."""
    gone: str
    """A run whose journal has expired."""
    frames: dict[str, list[Frame]]
    """All that each run had to say."""
    first: Cursor
    """The oldest entry that the trimmed journal has."""
    last: dict[str, Cursor]
    """The entry that is the end."""

    def events(self, run_id: str, query: bytes, headers: list[tuple[bytes, bytes]]) -> RawAnswer:
        target = b"/runs/%b/events%b" % (run_id.encode(), query)
        bearer = (b"Authorization", b"Bearer " + self.token)
        return raw_request(self.url, "GET", target, [bearer, (b"Relaykit-Resume", b"1"), *headers])


@pytest.fixture(scope="module")
def ground(
    databases: Databases, redis_databases: RedisDatabases, issuer_key_file: Path, tmp_path_factory: Any
) -> Iterator[Ground]:
    folder = tmp_path_factory.mktemp("attachments")
    with (
        fresh_settings(databases, redis_databases, issuer_key_file, folder) as settings,
        served(settings) as system,
        signed_in(system) as client,
        redis.Redis.from_url(settings.redis_url) as cache,
    ):
        answers = []
        for _ in range(3):
            response = client.post("/chatkit", json=create("one two three four"))
            answers.append(Answer(response.status_code, response.headers, response.content))
        whole, trimmed, gone = (answer.run_id for answer in answers)
        first = Cursor.parse(answers[1].frames[4][0])
        cache.xtrim(keys.journal(trimmed), minid=str(first), approximate=False)
        cache.delete(keys.journal(gone))
        last = {
            run_id: Cursor.parse(cache.xrevrange(keys.journal(run_id), count=1)[0][0].decode())
            for run_id in (whole, trimmed)
        }
        yield Ground(
            system.urls[0],
            client.headers["Authorization"].removeprefix("Bearer ").encode(),
            whole,
            trimmed,
            gone,
            {answer.run_id: answer.frames for answer in answers},
            first,
            last,
        )


def parsed(text: str) -> Cursor | None:
    """The start for no text at all, None for what is no cursor."""
    try:
        return Cursor.parse(text) if text else START
    except InvalidCursor:
        return None


def check(answer: RawAnswer, ground: Ground, run_id: str, text: str) -> None:
    """The answer is the one that docs/protocol.md gives for this cursor."""
    event(f"{answer.status}")
    cursor = parsed(text)
    if cursor is None:
        assert (answer.status, answer.json()["error"]["code"]) == (400, "invalid_cursor")
        assert_documented_error(answer, 400)
    elif _lacks(ground, run_id, cursor):
        assert (answer.status, answer.json()["error"]["code"]) == (410, "journal_gone")
        assert_documented_error(answer, 410)
    elif following := [frame for frame in ground.frames[run_id] if Cursor.parse(frame[0]) > cursor]:
        assert answer.status == 200
        assert parse_frames(answer.body) == following
        assert answer.body.endswith(b": end completed\n\n")
    else:
        assert (answer.status, answer.body) == (204, b"")


def _lacks(ground: Ground, run_id: str, cursor: Cursor) -> bool:
    if run_id == ground.gone or cursor > ground.last[run_id]:
        return True
    ids = [Cursor.parse(frame[0]) for frame in ground.frames[run_id]]
    if cursor.attempt == 0 and cursor > max(each for each in ids if each.attempt == 0):
        return True  # attempt 1 begins after another entry: something was lost
    return run_id == ground.trimmed and cursor < Cursor(ground.first.attempt, ground.first.seq - 1)


def runs(ground: Ground) -> st.SearchStrategy[str]:
    return st.sampled_from([ground.whole, ground.whole, ground.trimmed, ground.gone])


NEAR = st.builds(Cursor, st.integers(0, 2), st.integers(0, 12)).map(str)
"""Cursors within the journals, or just outside."""
TEXTS = st.one_of(NEAR, NEAR, CURSORS.map(str), NEAR_MISSES, st.text(max_size=20))


@examples(150)
@given(st.data(), TEXTS)
def test_a_cursor_in_the_query(ground: Ground, data: st.DataObject, text: str) -> None:
    run_id = data.draw(runs(ground))
    answer = ground.events(run_id, b"?after=" + quote_from_bytes(text.encode(), safe="").encode(), [])
    check(answer, ground, run_id, text)


@examples(150)
@given(st.data(), TEXTS.map(str.encode) | st.binary(max_size=20))
def test_a_cursor_in_the_header(ground: Ground, data: st.DataObject, raw: bytes) -> None:
    """White space around a header's value is not part of it; what no header can hold is not HTTP."""
    run_id = data.draw(runs(ground))
    raw = raw.replace(b"\r", b"").replace(b"\n", b"")
    answer = ground.events(run_id, b"", [(b"Last-Event-ID", raw)])
    if b'"bad_request"' in answer.body:
        assert any(byte < 32 or byte == 127 for byte in raw)
        return
    check(answer, ground, run_id, raw.decode("latin-1").strip(" \t"))


@examples(50)
@given(TEXTS, NEAR)
def test_the_header_wins_over_the_query(ground: Ground, in_query: str, in_header: str) -> None:
    query = b"?after=" + quote_from_bytes(in_query.encode(), safe="").encode()
    answer = ground.events(ground.whole, query, [(b"Last-Event-ID", in_header.encode())])
    check(answer, ground, ground.whole, in_header)


@examples(50)
@given(st.binary(max_size=20))
def test_any_bytes_for_a_query(ground: Ground, raw: bytes) -> None:
    answer = ground.events(ground.whole, b"?after=" + quote_from_bytes(raw, safe="").encode(), [])
    check(answer, ground, ground.whole, raw.decode(errors="replace"))
