"""The garbage collector, set for processes that hold many small objects for long and make many more that go at once."""

from __future__ import annotations

import gc

THRESHOLDS = (20_000, 10, 10)
"""Python's own are 700, 10, 10: at thousands of events a second it would look at all connections again and again."""


def settle() -> None:
    """To be called once all is imported: what is there by then is never looked at again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
