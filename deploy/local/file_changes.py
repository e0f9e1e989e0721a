"""Changes of the files that the running code was loaded from."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import cache_from_source
from pathlib import Path

from watchfiles import Change, DefaultFilter, watch

import relaykit

STEP_MS = 50
"""A burst of changes, such as an editor makes, is over when nothing has changed for so long."""
BURST_MS = 400
SUFFIXES = (".py", ".env")
OURS = tuple(
    f"{folder.resolve()}{os.sep}"
    for folder in (Path(relaykit.__file__).parent, *Path(relaykit.__file__).parent.iterdir())
    if folder.is_dir()
)


class FileChanges:
    """`taken()` says what has changed since it was called last."""

    def __init__(self) -> None:
        self.failure: str | None = None
        """Why the files are not watched any more, if they are not."""
        self._changed: set[str] = set()
        self._lock = threading.Lock()

    def note(self, paths: set[str]) -> None:
        with self._lock:
            self._changed |= paths

    @staticmethod
    def are_ours(paths: set[str]) -> bool:
        """Whether one of them is Relaykit's own, which a process on standby has imported already."""
        return any(path.startswith(OURS) for path in paths)

    def taken(self) -> set[str]:
        """Also has what Python has compiled of them deleted."""
        with self._lock:
            changed, self._changed = self._changed, set()
        drop_bytecode(changed)
        return changed


def drop_bytecode(paths: set[str]) -> None:
    """Has Python compile these files when they are imported next.

    It takes a file for unchanged that has the size and the second of the one that it has compiled.
    """
    for path in paths:
        if path.endswith(".py"):
            with suppress(OSError, NotImplementedError):  # what cannot be deleted was not compiled here
                Path(cache_from_source(path)).unlink(missing_ok=True)


class _Sources(DefaultFilter):
    """Python's files and `.env`, but for those in folders of tools, of an environment and of our own data."""

    def __init__(self, data_dir: Path) -> None:
        super().__init__(ignore_paths=[data_dir])

    def __call__(self, change: Change, path: str) -> bool:
        return path.endswith(SUFFIXES) and super().__call__(change, path)


@contextmanager
def watched(folder: Path, data_dir: Path) -> Iterator[FileChanges]:
    """The changes below the folder, until the block ends."""
    changes, stop = FileChanges(), threading.Event()

    def collect() -> None:
        found = watch(
            folder,
            watch_filter=_Sources(data_dir),
            stop_event=stop,
            step=STEP_MS,
            debounce=BURST_MS,
            rust_timeout=200,
            raise_interrupt=False,
            ignore_permission_denied=True,
        )
        try:
            for changed in found:
                changes.note({path for _, path in changed})
        except Exception as error:  # such as the system's limit of watches
            changes.failure = f"{type(error).__name__}: {error}"

    thread = threading.Thread(target=collect, name="file-changes", daemon=True)
    thread.start()
    try:
        yield changes
    finally:
        stop.set()
        thread.join()
