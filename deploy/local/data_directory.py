"""The folder that local mode keeps everything in, held by one owner at a time."""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from relaykit.local.errors import BadSetting, LocalModeError

LEFTOVER_WAIT_SECONDS = 20.0


class DataDirectory:
    """`lock` is the open lock file. A service that inherits it holds the folder for as long as it lives."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self.lock = lock

    def file(self, name: str, content: str) -> Path:
        """The file `name`, readable by its owner only, with `content` if it is not there yet. Never half written."""
        path = self.path / name
        if not path.exists():
            fresh = path.with_name(f"{name}.new")
            fresh.unlink(missing_ok=True)
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "w") as file:
                file.write(content)
            fresh.rename(path)
        return path

    def secret(self, name: str) -> str:
        """A random secret that is the same at every start."""
        return self.file(name, secrets.token_urlsafe(32)).read_text()


@contextmanager
def data_directory(path: Path) -> Iterator[DataDirectory]:
    """Makes the folder, or takes it with the mode it has, and holds it until the block ends.

    Services inherit the lock, so that after a supervisor's sudden death it is free only when they are gone too:
    two servers never share the data, and a pid file found under the lock is stale for sure.
    Raises BadSetting where there can be no such folder, LocalModeError when another process holds it.
    """
    path = path.absolute()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # root's PostgreSQL runs as another user, who must be able to go through
        path.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, exist_ok=True)
        if not (ignored := path / ".gitignore").exists():
            ignored.write_text("*\n")  # what is here holds secrets
        lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        reason = "Not a directory" if isinstance(error, FileExistsError) else error.strerror
        raise BadSetting(f"DATA_DIR {path} cannot be used: {reason}") from error
    try:
        _acquire(lock, path)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        try:
            yield DataDirectory(path, lock)
        finally:
            os.ftruncate(lock, 0)
    finally:
        os.close(lock)


def _acquire(lock: int, path: Path) -> None:
    deadline = time.monotonic() + LEFTOVER_WAIT_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(lock, 20, 0).decode().partition("\n")[0]
            if holder.isdigit() and _alive(int(holder)):
                raise LocalModeError(f"Relaykit runs already on {path} (process {holder}).") from None
            if time.monotonic() > deadline:
                raise LocalModeError(f"Services of an earlier start still hold {path}.") from None
            time.sleep(0.05)
        else:
            return


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
