"""Where the loop of another thread stands, and for how long."""

from __future__ import annotations

import asyncio
import sys
import sysconfig
import time
from pathlib import Path
from types import FrameType
from typing import Any, Final

LOOK_SECONDS: Final = 0.25
MAX_FRAMES: Final = 8

_OURS: Final = tuple(f"{Path(__file__).parents[2] / side}/" for side in ("api", "shared"))
_LIBRARIES: Final = (sysconfig.get_path("stdlib"), "<frozen ")


class LoopWatch:
    """Of a loop that runs in another thread: looked at from without, about every LOOK_SECONDS."""

    def __init__(self, loop: asyncio.AbstractEventLoop, thread_id: int) -> None:
        self._loop = loop
        self._thread_id = thread_id
        self._came_round = True
        self._step: asyncio.Task[Any] | None = None
        self._since = self._looked_at = time.monotonic()

    @property
    def seconds(self) -> float:
        """For how long the loop had been in one and the same step when it was last looked at; 0 once it goes on."""
        return 0.0 if self._came_round else self._looked_at - self._since

    @property
    def step(self) -> asyncio.Task[Any] | None:
        """The task in which it was."""
        return self._step

    @property
    def is_free(self) -> bool:
        """Whether the loop has come round since it was last looked at."""
        return self._came_round

    def look(self, *, asks: bool) -> None:
        """With `asks` the loop is to say until the next look that it has come round."""
        now = time.monotonic()
        step = asyncio.current_task(self._loop)
        if self._came_round or step is not self._step:
            self._since = now
        else:  # by so much as this look is late the whole process stood
            self._since += max(0.0, now - self._looked_at - 2 * LOOK_SECONDS)
        self._step, self._looked_at = step, now
        if self._came_round and asks:
            self._came_round = False
            self._loop.call_soon_threadsafe(self._note)

    def _note(self) -> None:
        self._came_round = True

    def place(self) -> dict[str, object]:
        """For a log line: file, line and function of the site's where the loop stands, and the frames that led there.

        Like `shared.log.failure` it says nothing of what the frames hold.
        """
        frame = sys._current_frames().get(self._thread_id)
        stack: list[FrameType] = []
        while frame is not None:
            stack.append(frame)
            frame = frame.f_back
        at = next((each for each in stack if _is_of_site(each.f_code.co_filename)), None)
        frames = [_place_of(each) for each in reversed(stack[:MAX_FRAMES])]
        return {"place": _place_of(at or stack[0]) if stack else None, "frames": frames}


def _is_of_site(filename: str) -> bool:
    return "-packages" not in filename and not filename.startswith((*_OURS, *_LIBRARIES))


def _place_of(frame: FrameType) -> str:
    return f"{frame.f_code.co_filename}:{frame.f_lineno}:{frame.f_code.co_name}"
