"""The call that a thread stands in, by its frames: files, lines and functions, and never a value."""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import FrameType

MAX_FRAMES = 8


@dataclass(frozen=True, slots=True)
class Call:
    """Where a thread stands. `place` is the line of the site's code in it, `frames` are the innermost ones."""

    place: str
    frames: tuple[str, ...]


def call_of(thread_id: int) -> Call:
    """The call that the thread is in now; any thread may ask."""
    stack = list(_stack(sys._current_frames().get(thread_id)))
    frames = tuple(_described(frame) for frame in reversed(stack[:MAX_FRAMES]))
    return Call(_place(stack), frames)


def _stack(frame: FrameType | None) -> Iterator[FrameType]:
    """Innermost first."""
    while frame is not None:
        yield frame
        frame = frame.f_back


def _place(stack: list[FrameType]) -> str:
    """The innermost line that is neither ours nor a library's; else one of a library's; else the innermost of all."""
    ours, python, libraries = _folders()
    foreign = [frame for frame in stack if not _is_in(frame, ours) and not _is_in(frame, python)]
    sites = [frame for frame in foreign if not _is_in(frame, libraries)]
    return next((_described(frame) for frame in (*sites, *foreign, *stack)), "unknown")


def _is_in(frame: FrameType, folders: tuple[str, ...]) -> bool:
    return frame.f_code.co_filename.startswith(folders)


@cache
def _folders() -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """The folders of our code, of Python's library, and of installed packages, which may lie in one of the others."""
    root = Path(__file__).parents[2]
    paths = sysconfig.get_paths()
    ours = tuple(f"{root / side}/" for side in ("worker", "shared"))
    libraries = tuple(f"{paths[name]}/" for name in ("purelib", "platlib"))
    return ours, (f"{paths['stdlib']}/", "<frozen"), libraries


def _described(frame: FrameType) -> str:
    return f"{frame.f_code.co_filename}:{frame.f_lineno}:{frame.f_code.co_name}"
