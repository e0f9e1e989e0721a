"""Ports for tests: none is given twice while the tests of this machine may still be about to listen on it."""

from __future__ import annotations

import fcntl
import os
import tempfile
from itertools import count
from pathlib import Path

from relaykit.local.ports import is_free

FIRST = 10_000
LAST = 14_999
"""Below the range of `relaykit.local.ports`, from which the product takes its own."""


def free_port(*, following: int = 0) -> int:
    """The next free port in turn, of all test processes of this user, with as many free ones after it.

    Taken by chance, one in some thousands is given to two that start at the same time; the second then finds the
    first's server there and takes it for its own.
    """
    turns = Path(tempfile.gettempdir()) / f"relaykit-test-ports-{os.getuid()}"
    with turns.open("a+", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        turn = int(file.read() or 0)
        firsts = (FIRST + number % (LAST - FIRST - following) for number in count(turn))
        first = next(first for first in firsts if all(map(is_free, range(first, first + following + 1))))
        file.truncate(0)
        file.write(str(first - FIRST + following + 1))
    return first
