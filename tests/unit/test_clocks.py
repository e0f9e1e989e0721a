"""The offset of a clock: the least that explains what was seen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relaykit.shared.clocks import clock_offset

times = st.floats(0, 4e9)


@pytest.mark.parametrize(
    ("before", "theirs", "after", "offset"),
    [
        (100.0, 100.5, 101.0, 0),
        (100.0, 100.0, 100.0, 0),
        (100.0, 90.0, 101.0, 10),
        (100.0, 111.0, 101.0, -10),
        (100.0, 104.0, 105.0, 0),
    ],
    ids=["the same", "at once", "ahead", "behind", "a slow answer"],
)
def test_it_is_ahead_where_theirs_is_older_than_the_question(
    before: float, theirs: float, after: float, offset: float
) -> None:
    assert clock_offset(before, theirs, after) == offset


@given(times, st.floats(0, 100), st.floats(0, 1), st.floats(-1e6, 1e6))
def test_it_never_says_more_than_the_offset_that_there_is(
    asked_at: float, took: float, share: float, offset: float
) -> None:
    """Their clock is right, and read at any moment of the call; ours is `offset` ahead."""
    found = clock_offset(asked_at + offset, asked_at + share * took, asked_at + took + offset)
    assert abs(found) <= abs(offset) + 1e-5
    assert found * offset >= 0
    assert abs(found) >= abs(offset) - took - 1e-5
