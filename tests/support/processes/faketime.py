"""A process whose clock is off: libfaketime, in front of the system's library."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

LIBRARY = "libfaketimeMT.so.1"
"""For programs that have threads."""


def shifted_clock(seconds: int) -> dict[str, str]:
    """What goes into the environment of a process whose clock is to be ahead, or behind.

    Its monotonic clock is left alone: what it waits for comes in time.
    """
    found = next(Path("/usr/lib").glob(f"*/faketime/{LIBRARY}"), None)
    if found is None:
        assert not os.environ.get("CI"), "CI runs these tests; install libfaketime"
        pytest.skip("libfaketime is not installed")
    return {"LD_PRELOAD": str(found), "FAKETIME": f"{seconds:+d}s", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
