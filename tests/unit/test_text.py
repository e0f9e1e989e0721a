"""Text without half an emoji in it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relaykit.shared.text import well_formed, well_formed_copy, well_formed_escapes

ANY_TEXT = st.text(st.characters(codec=None))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("plain", "plain"),
        ("whole 😀 é", "whole 😀 é"),
        ("cut \ud83d", "cut \ufffd"),
        ("\ude00 cut", "\ufffd cut"),
        ("\ud83d\ude00", "😀"),
        ("\ude00\ud83d", "\ufffd\ufffd"),
        ("\ud83d\ud83d\ude00", "\ufffd😀"),
        ("\ud83dA", "\ufffdA"),
    ],
)
def test_halves_are_joined_and_a_lone_one_is_replaced(text: str, expected: str) -> None:
    assert well_formed(text) == expected


@given(ANY_TEXT)
def test_any_text_can_be_encoded_afterwards_and_then_stays(text: str) -> None:
    mended = well_formed(text)
    mended.encode()
    assert well_formed(mended) == mended


@given(st.text())
def test_well_formed_text_is_not_even_copied(text: str) -> None:
    assert well_formed(text) is text


def test_json_is_mended_at_every_depth_and_in_keys() -> None:
    value = {"a\ud83d": [1, None, True, {"b": ["\ude00", "\ud83d\ude00"]}]}
    assert well_formed_copy(value) == {"a\ufffd": [1, None, True, {"b": ["\ufffd", "😀"]}]}


@given(st.recursive(ANY_TEXT, lambda inner: st.lists(inner) | st.dictionaries(ANY_TEXT, inner)))
def test_mended_escapes_read_as_the_mended_value(value: object) -> None:
    """json.dumps spells every half as an escape, those that belong together side by side."""
    body = json.dumps(value, sort_keys=True).encode()
    assert json.loads(well_formed_escapes(body)) == well_formed_copy(json.loads(body))


def test_an_escaped_backslash_begins_no_escape() -> None:
    body = rb'"\\ud83d \\\ud83d \\\\ud83d"'
    assert well_formed_escapes(body) == rb'"\\ud83d \\\ufffd \\\\ud83d"'


def test_a_half_that_is_followed_by_another_escape() -> None:
    assert well_formed_escapes(rb'"\ud83d\u0041\uD83D\n\uDE00\uD83D\uDE00"') == (
        rb'"\ufffd\u0041\ufffd\n\ufffd\uD83D\uDE00"'
    )
