"""The cursor: what `str` gives is what `parse` takes, and nothing else; the order is that of the journal."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relaykit.shared.errors import InvalidCursor
from relaykit.shared.journal import START, Cursor
from tests.support.examples import examples

quick = examples(200)

CURSORS = st.builds(Cursor, st.integers(0, 10**9 - 1), st.integers(0, 10**12 - 1))
NEAR_MISSES = st.text(
    st.sampled_from("0123456789-+_ .,\t\n\r\x00eExX*$~\u0661\u096b\uff19\u2212"), max_size=12
)


@quick
@given(CURSORS)
def test_a_cursor_survives_its_text(cursor):
    assert Cursor.parse(str(cursor)) == cursor


@quick
@given(st.lists(CURSORS))
def test_the_order_is_by_attempt_and_then_by_seq(cursors):
    assert sorted(cursors) == sorted(cursors, key=lambda cursor: (cursor.attempt, cursor.seq))
    assert all(cursor >= START for cursor in cursors)


@quick
@given(CURSORS)
def test_a_later_attempt_is_after_any_seq_of_an_earlier_one(cursor):
    assert cursor < Cursor(cursor.attempt + 1, 0)


@quick
@given(st.one_of(st.text(max_size=30), NEAR_MISSES))
def test_a_text_is_a_cursor_only_if_it_is_that_cursors_own_text(text):
    try:
        cursor = Cursor.parse(text)
    except InvalidCursor:
        return
    assert str(cursor) == text


@quick
@given(CURSORS, st.sampled_from(" \t\n\r\x00\u2028\ufeff+-0.,_"), st.integers(0, 30))
def test_a_cursor_with_one_more_character_is_refused(cursor, character, place):
    text = str(cursor)
    place = min(place, len(text))
    changed = text[:place] + character + text[place:]
    with suppress(InvalidCursor):
        assert str(Cursor.parse(changed)) == changed


@pytest.mark.parametrize(
    "text",
    [
        *("", "-", "1", "1-", "-1", "1-2-3", "01-1", "1-01", "00-0", "-1-1", "1--1", "+1-1", " 1-1", "1-1 "),
        *(
            "1-1\n",
            "1.0-1",
            "1e3-1",
            "0x1-1",
            "1_0-1",
            "\u0661-\u0661",
            "1-\uff11",
            "1\u22121",
            "$",
            "*",
            "+",
            "(1-1",
            "1-*",
        ),
        *("1000000000-0", "0-1000000000000", "9" * 400 + "-1", "null"),
    ],
)
def test_what_is_no_cursor_is_refused(text):
    with pytest.raises(InvalidCursor):
        Cursor.parse(text)
