"""What a server may yield by mistake, told with the place in its own file.

The text of a mistake names types and lines, and quotes nothing of what was yielded.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import FrameType
from typing import Annotated, Any, Final, get_args, get_origin

from chatkit.types import ThreadStreamEvent


class ServerMistake(Exception):
    """The server has yielded what is no event, or is no stream of events. Its text may be logged."""


def _members(union: Any) -> Iterator[type]:
    if get_origin(union) is Annotated:
        yield from _members(get_args(union)[0])
    elif members := get_args(union):
        for member in members:
            yield from _members(member)
    else:
        yield union


EVENTS: Final = tuple(_members(ThreadStreamEvent))
_EXACTLY: Final = frozenset(EVENTS)


def check_event(event: object, source: object) -> None:
    """Raises ServerMistake where that is no event. `source` is the server's generator, which has just yielded it."""
    if type(event) not in _EXACTLY and not isinstance(event, EVENTS):
        raise ServerMistake(f"{_place(source)} yielded a {type(event).__name__}, not a ThreadStreamEvent")


def check_thread(event: object, thread_id: str, source: object) -> str | None:
    """What is wrong with an event whose item names another thread, in one sentence; None where nothing is."""
    item = getattr(event, "item", None)
    if item is None or getattr(item, "thread_id", thread_id) == thread_id:
        return None
    return f"{_place(source)} yielded an item of another thread, which is stored in the run's own"


def no_stream(source: object) -> ServerMistake:
    """What was called for the answer has given this instead of an async iterator."""
    return ServerMistake(
        f"{_place(source)} gave a {type(source).__name__}, not an async generator: it has to yield its events"
    )


def _place(source: object) -> str:
    """The function that made the generator, with the line where it stands."""
    frame = getattr(source, "ag_frame", None) or getattr(source, "cr_frame", None)
    if not isinstance(frame, FrameType):
        code = getattr(source, "cr_code", None)
        return f"{code.co_name}() in {code.co_filename}:{code.co_firstlineno}" if code else "the server"
    return f"{frame.f_code.co_name}() in {frame.f_code.co_filename}:{frame.f_lineno}"
