"""How a process exits: with what is logged and printed written, and with the interpreter whole."""

from __future__ import annotations

import atexit
import gc
import io
import logging
import os
import sys
import threading
from contextlib import suppress
from typing import Final, NoReturn, TextIO

UNWRITTEN_STATUS: Final = 1


def end_now(status: int) -> NoReturn:
    """Ends the process, with its log and its output written: where that fails, with another status than 0.

    A reader of its output that has gone is no failure.
    """
    try:
        logging.shutdown()
    finally:
        os._exit(
            status if all([_is_written(sys.stdout), _is_written(sys.stderr)]) else status or UNWRITTEN_STATUS
        )


def _is_written(stream: TextIO | None) -> bool:
    try:
        if stream is not None and not stream.closed:
            stream.flush()
    except BrokenPipeError:
        return True
    except BaseException:  # whatever it is, the process ends
        return False
    return True


def exit_process(status: int) -> NoReturn:
    """Ends the process as the interpreter would, after its threads and exit handlers, but does not take that down.

    Threads of libraries that are written in Rust let go of their Python objects a moment after the result is there. An
    interpreter before Python 3.14 that is being taken down aborts the process for that (the object store's are such:
    github.com/PyO3/pyo3-async-runtimes/issues/40).
    """
    try:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        _flush_files()
    finally:
        end_now(status)


def _flush_files() -> None:
    """Writes what is in the buffers of files that are open: the interpreter would as it destroys them."""
    gc.unfreeze()  # a frozen object is not told
    files = gc.get_objects()
    for kind in (io.TextIOWrapper, io.BufferedWriter | io.BufferedRandom):  # a text's buffer is above another
        for file in files:
            if issubclass(type(file), kind) and file is not sys.stdout and file is not sys.stderr:
                with suppress(BaseException):  # one that fails keeps no other
                    file.flush()
