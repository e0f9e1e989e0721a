"""What a message may ask of the server besides its answer: the harm that foreign code does to its process."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from enum import StrEnum
from typing import Final

LEASE_SECONDS: Final = 3.0
BLOCK_SECONDS: Final = 1.2 * LEASE_SECONDS
BLOCKED_SECONDS: Final = 2 * LEASE_SECONDS
"""The setting: a loop that stands still for longer than BLOCK_SECONDS is only slow."""


class Harm(StrEnum):
    """`HANG` and `KILL` are done by a run's first attempt alone, so that the run can complete."""

    BLOCK = "block"
    """A blocking call that is longer than a lease."""
    HANG = "hang"
    """A blocking call that never returns."""
    KILL = "kill"
    """The process is killed from within."""
    PANIC = "panic"
    """An exception that is no Exception: the run fails for it, in one attempt. So do the three after it."""
    EXIT = "exit"
    GROUP = "group"
    CANCELLED = "cancelled"
    """A cancellation that nobody has asked for."""

    @property
    def fails_the_run(self) -> bool:
        return self in {Harm.PANIC, Harm.EXIT, Harm.GROUP, Harm.CANCELLED}


class Panic(BaseException):
    """As the bindings of Rust raise it."""


def inflict(harm: Harm, attempt: int) -> None:
    """Raises what is no Exception, where the harm is to fail the run."""
    match harm:
        case Harm.BLOCK:
            time.sleep(BLOCK_SECONDS)
        case Harm.HANG if attempt == 1:
            threading.Event().wait()
        case Harm.KILL if attempt == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        case Harm.PANIC:
            raise Panic
        case Harm.EXIT:
            raise SystemExit(3)
        case Harm.GROUP:
            raise BaseExceptionGroup("", [Panic(), ValueError()])
        case Harm.CANCELLED:
            raise asyncio.CancelledError
        case _:
            pass
