"""Before an act that cannot be undone: is it meant, and who does it."""

from __future__ import annotations

import asyncio
import getpass
import platform
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from relaykit.operator_commands.printing import plain, say
from relaykit.shared.operating.act_errors import ActRefused


def require_yes(question: str, *, yes: bool) -> None:
    """Asks on a terminal, unless `yes`. Raises ActRefused for anything but yes, and without a terminal.

    Ctrl-C is a no at once.
    """
    if yes:
        return
    if sys.stdin is None or not sys.stdin.isatty():  # None: it was closed before the command began
        raise ActRefused("It cannot be undone, and there is no terminal to ask on: --yes does it.")
    try:
        with _interruptible():
            say(f"{question} [y/N] ", end="")
            answer = sys.stdin.readline()
    except (KeyboardInterrupt, OSError, UnicodeError):  # OSError: the terminal is gone
        answer = ""
    if not answer.endswith("\n"):
        say("")  # what is said next begins a line
    if answer.strip().lower() not in ("y", "yes"):
        raise ActRefused("Nothing was done.")


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGINT raises KeyboardInterrupt in what waits here; otherwise it would cancel the task, which nothing wakes."""
    handler = signal.getsignal(signal.SIGINT)
    if handler is signal.SIG_IGN or handler is None:
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        task = asyncio.current_task()
        if task is not None and task.cancelling():  # the signal came before
            raise KeyboardInterrupt
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


def actor(by: str | None) -> str:
    """Who acts, for the audit: the user who runs the command, by their own word."""
    if by is not None:
        return by
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        user = "unknown"
    return plain(f"{user}@{platform.node()}")
