"""Structured logs: a constant message, a stable `action`, ids bound once. Never what a user or a model wrote."""

from __future__ import annotations

import logging
import os
import platform
import sys
import threading
import traceback
from typing import Literal

import structlog

from relaykit.shared.crashes import ServerCrashed
from relaykit.shared.error_codes import code_of
from relaykit.shared.errors import RelaykitError
from relaykit.shared.log_bursts import Bursts
from relaykit.shared.owner import Owner

QUIET = (
    "arq",
    "asyncio",
    "asyncpg",
    "chatkit",
    "hpack",
    "httpcore2",
    "httpx2",
    "mcp",
    "multipart",
    "openai",
    "openai.agents",
    "opentelemetry",
    "requests",
    "urllib3",
    "uvicorn",
    "websockets",
)
"""Libraries that log bodies, headers, arguments or exceptions that quote them: their records never leave the process
below CRITICAL, whatever LOG_LEVEL says."""


_process: dict[str, str | int] = {}
"""What each line says of the process, as JSON."""

_texts = threading.Event()
"""Set where exceptions are logged with their texts."""


def configure(level: str, form: Literal["json", "console"], exceptions: str = "places") -> None:
    """Sets up structlog and the standard library's logging for this process; the arguments are LOG_LEVEL, LOG_FORMAT
    and LOG_EXCEPTIONS.
    """
    if exceptions != "places":
        _texts.set()
    number = logging.getLevelName(level.upper())
    timestamper = structlog.processors.TimeStamper(fmt="iso", utc=True)
    shared_processors: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        timestamper,
        _without_exception_text,
        *([_with_process] if form == "json" else []),
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty() or "FORCE_COLOR" in os.environ)
    )
    structlog.configure(
        processors=[*shared_processors, Bursts(), structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared_processors,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(number)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


def note_process(**fields: str | int) -> None:
    """From now on each line of this process has these, and the host, where the log is JSON. Safe in any thread."""
    _process.update(host=platform.node(), pid=os.getpid(), **fields)


def who(owner: Owner) -> dict[str, str]:
    """The owner in a log line: the tenant's name, and of the user the digest that also stands in Redis keys."""
    return {"tenant": owner.tenant, "user": owner.digest}


def _with_process(
    _: structlog.typing.WrappedLogger, __: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    return {**_process, **event}


def _without_exception_text(
    _: structlog.typing.WrappedLogger, __: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """An exception's text and the values of its frames may quote a user, or hold a secret: neither is rendered."""
    error = event.pop("exc_info", None)
    if error is True:
        error = sys.exc_info()
    if isinstance(error, tuple):
        error = error[1]
    if isinstance(error, BaseException):
        event.update(failure(error))
    return event


def shows_texts() -> bool:
    """Whether LOG_EXCEPTIONS lets the texts of exceptions into logs and answers."""
    return _texts.is_set()


def exception_text(error: BaseException) -> str | None:
    """The exception's type and text in one line; None where LOG_EXCEPTIONS keeps texts out of logs and answers."""
    if not _texts.is_set():
        return None
    return " ".join("".join(traceback.format_exception_only(error)).split())


def failure(error: BaseException) -> dict[str, object]:
    """What a log line says of an unexpected exception: its type and where it was raised.

    Its text and its whole traceback are added with LOG_EXCEPTIONS=full alone.

    Of a group, such as a task group raises, it names the first exception in it, with the group's places before its own;
    likewise of ServerCrashed its cause.
    Where a service failed, it also names what the driver raised, and the code word of that: READONLY, OOM, an SQLSTATE.
    """
    texts = {"exception": "".join(traceback.format_exception(error))} if _texts.is_set() else {}
    frames = _frames(error)
    while (inner := _inner(error)) is not None:
        error = inner
        frames += _frames(error)
    found: dict[str, object] = {"error_type": type(error).__qualname__, "frames": frames[-8:], **texts}
    if isinstance(error, RelaykitError) and error.__cause__ is not None:
        found["cause_type"] = type(error.__cause__).__qualname__
    if (code := code_of(error)) is not None:
        found["cause_code"] = code
    return found


def _inner(error: BaseException) -> BaseException | None:
    if isinstance(error, BaseExceptionGroup):
        return error.exceptions[0]
    return error.__cause__ if isinstance(error, ServerCrashed) else None


def _frames(error: BaseException) -> list[str]:
    frames = []
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        frames.append(f"{code.co_filename}:{trace.tb_lineno}:{code.co_name}")
        trace = trace.tb_next
    return frames
