"""The end of a worker process whose event loop will not end it."""

from __future__ import annotations

import faulthandler
import logging
import os
import sys
from typing import NoReturn

BLOCKED_STATUS = 3
"""Exit status of a process that ends itself because a call blocks its event loop."""
MARGIN_SECONDS = 5.0
"""How much later than the keeper the last resort ends the process. It is for calls that let no other thread run Python,
the keeper's among them."""


def arm(seconds: float) -> None:
    """After so long Python writes all threads' stacks to stderr and ends the process (status 1). Arming begins anew.

    This needs no lock of the interpreter: a call into C that keeps it for ever ends so.
    """
    faulthandler.dump_traceback_later(seconds, exit=True)


def disarm() -> None:
    faulthandler.cancel_dump_traceback_later()


def end_process() -> NoReturn:
    """At once: what the event loop still has to do is not done."""
    for handler in logging.getLogger().handlers:
        handler.flush()
    sys.stdout.flush()
    os._exit(BLOCKED_STATUS)
