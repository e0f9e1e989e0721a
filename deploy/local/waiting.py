"""Waiting for children: until something holds, one of them ends, or a stop is asked for."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from relaykit.local.child import Child
from relaykit.local.errors import LocalModeError, Stopped

START_SECONDS = 120.0
POLL_SECONDS = 0.02


class StopRequest:
    """Whether a stop was asked for. A plain flag: a signal handler can set it whatever the main thread holds."""

    def __init__(self) -> None:
        self.requested = False


def wait_until(
    condition: Callable[[], bool],
    what: str,
    children: Sequence[Child],
    stop: StopRequest,
    timeout_seconds: float = START_SECONDS,
) -> None:
    """Polls until `condition` holds; `what` names it in the error of a time-out.

    Raises LocalModeError when one of `children` ends first or the time is over, Stopped when `stop` is requested.
    """
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        _check(children)
        if time.monotonic() > deadline:
            raise LocalModeError(f"{what}: not after {timeout_seconds:g} seconds.")
        if stop.requested:
            raise Stopped
        time.sleep(POLL_SECONDS)


def _check(children: Sequence[Child]) -> None:
    """Raises LocalModeError when one of the children has ended."""
    for child in children:
        if child.exit_code() is not None:
            raise LocalModeError(child.obituary())
