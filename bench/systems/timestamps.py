"""When a delta was made, as its text."""

from __future__ import annotations

import time


def stamp() -> str:
    """CLOCK_MONOTONIC in ns, the same in all processes, as 21 characters; load clients count the tildes."""
    return f"~{time.monotonic_ns():019d} "
