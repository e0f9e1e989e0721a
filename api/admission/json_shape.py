"""The shape of a JSON value that a client sent: bounded before a model is built from it."""

from __future__ import annotations

from math import isfinite
from typing import Any

from relaykit.shared.errors import InvalidJson, InvalidRequest

MAX_VALUES = 50_000
"""Values of one body, at all depths."""
MAX_ENTRIES = 10_000
"""Entries of one list or object, wherever it stands: the protocol's own lists have narrower bounds in parse.py."""


def check_shape(value: Any) -> None:
    """Goes through the value level by level and stops at the first bound that it passes. The parser bounds the levels.

    Raises InvalidRequest, and InvalidJson for a number that no float can hold: the parser refuses NaN and takes 1e999
    for infinity.
    """
    level, count = [value], 0
    while level:
        count += len(level)
        if count > MAX_VALUES:
            raise InvalidRequest(locations=[f"more than {MAX_VALUES} values"])
        level = _children(level)


def _children(level: list[Any]) -> list[Any]:
    children: list[Any] = []
    for value in level:
        kind = type(value)
        if kind is dict or kind is list:
            if len(value) > MAX_ENTRIES:
                raise InvalidRequest(locations=[f"a list or object with more than {MAX_ENTRIES} entries"])
            children += value.values() if kind is dict else value
            if len(children) > MAX_VALUES:
                raise InvalidRequest(locations=[f"more than {MAX_VALUES} values"])
        elif kind is float and not isfinite(value):
            raise InvalidJson
    return children
