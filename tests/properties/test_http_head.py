"""Where a head ends, and whether it is too large, does not depend on how its bytes are split."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from relaykit.api.http.head import HeadScan
from tests.support.examples import examples

LIMIT = 40
BYTES = st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"\r\n\r\n", b"a", b"a: b\r\n"]), max_size=40).map(
    b"".join
)


def scanned(pieces: list[bytes]) -> int | None:
    """How many bytes belong to the head; None where it is too large, or has not ended."""
    scan = HeadScan(LIMIT)
    taken = b""
    for piece in pieces:
        start = 0
        while start < len(piece):
            end = scan.take(piece, start)
            taken += piece[start:end]
            if taken.endswith(b"\r\n\r\n"):
                assert scan.taken == len(taken)
                return len(taken)
            if scan.is_full:
                return None
            assert end == len(piece), "the scan stopped before the end, and at no limit"
            start = end
    return None


@examples(300)
@given(BYTES, st.sets(st.integers(min_value=0, max_value=200)))
def test_the_same_bytes_have_the_same_verdict_however_they_are_split(data: bytes, cuts: set[int]) -> None:
    bounds = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    pieces = [data[start:end] for start, end in pairwise(bounds)]
    found = data.find(b"\r\n\r\n") + 4
    expected = found if 4 <= found <= LIMIT else None
    assert scanned(pieces) == scanned([data]) == expected


@examples(100)
@given(BYTES, BYTES)
def test_a_scan_that_was_reset_has_forgotten_the_head_before(first: bytes, second: bytes) -> None:
    scan, fresh = HeadScan(LIMIT), HeadScan(LIMIT)
    if first:
        scan.take(first, 0)
    scan.reset()
    if second:
        assert scan.take(second, 0) == fresh.take(second, 0)
    assert (scan.taken, scan.is_full) == (fresh.taken, fresh.is_full)
