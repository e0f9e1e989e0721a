"""What local mode itself reads from the environment."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from relaykit.local.errors import BadSetting
from relaykit.local.ports import authority, free_port
from relaykit.shared.settings import LOOPBACK_HOSTS

DATA_DIR = ".relaykit"
"""A folder in the one where the command is called."""
MAX_PROCESSES = 64
DRAIN_SECONDS = 5.0
"""The person who pressed Ctrl-C waits for it; a deployment has 25."""
DEV_DRAIN_SECONDS = 0.0
"""The person who saved a file waits for it: runs are handed back at once, and begin anew with the new code."""
SHUTDOWN_DELAY_SECONDS = 0.0
"""No balancer is in front of local mode."""


@dataclass(frozen=True)
class LocalSettings:
    """`ports` has one for each API process."""

    host: str
    ports: tuple[int, ...]
    worker_ports: tuple[int | None, ...]
    """For each worker: WORKER_PORT and those after it; None where it listens on none."""
    shutdown_delay_seconds: float
    drain_seconds: float
    data_dir: Path
    folder: Path
    """The site's, where its files are watched and its processes run."""

    @property
    def address(self) -> str:
        return f"http://{authority(self.host, self.ports[0])}"


def read_local_settings(environ: Mapping[str, str], drain_seconds: float = DRAIN_SECONDS) -> LocalSettings:
    """HOST, PORT (0: any free ones), API_PROCESSES, WORKERS, the times of a stop, DATA_DIR and APP_DIR.

    `drain_seconds` is what DRAIN_SECONDS is where it is not set. Raises BadSetting.
    """
    host = environ.get("HOST") or "127.0.0.1"
    if host not in LOOPBACK_HOSTS:
        raise BadSetting("HOST: local mode listens on loopback only; use 127.0.0.1, ::1 or localhost.")
    if not (folder := site_folder(environ)).is_dir():
        raise BadSetting(f"APP_DIR: there is no folder {folder}.")
    processes = _number(environ, "API_PROCESSES", 1, at_least=1, at_most=MAX_PROCESSES)
    port = _number(environ, "PORT", 8000, at_least=0, at_most=65536 - processes)
    ports = [port + index if port else free_port(host) for index in range(processes)]
    workers = _number(environ, "WORKERS", 1, at_least=0, at_most=MAX_PROCESSES)
    first = _number(environ, "WORKER_PORT", 0, at_least=0, at_most=65535 - workers)
    return LocalSettings(
        host=host,
        ports=tuple(ports),
        worker_ports=tuple(first + index if first else None for index in range(workers)),
        shutdown_delay_seconds=_seconds(environ, "SHUTDOWN_DELAY_SECONDS", SHUTDOWN_DELAY_SECONDS),
        drain_seconds=_seconds(environ, "DRAIN_SECONDS", drain_seconds),
        data_dir=Path(environ.get("DATA_DIR") or Path.cwd() / DATA_DIR),
        folder=folder,
    )


def site_folder(environ: Mapping[str, str]) -> Path:
    """APP_DIR, or the folder in which the command is called."""
    return Path(environ.get("APP_DIR") or ".").expanduser().absolute()


def _number(environ: Mapping[str, str], name: str, default: int, *, at_least: int, at_most: int) -> int:
    text = environ.get(name) or str(default)
    if not text.isdecimal() or not at_least <= int(text) <= at_most:
        raise BadSetting(f"{name}: must be a whole number from {at_least} to {at_most}.")
    return int(text)


def _seconds(environ: Mapping[str, str], name: str, default: float) -> float:
    try:
        seconds = float(environ.get(name) or default)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < math.inf:
        raise BadSetting(f"{name}: must be a number of seconds.")
    return seconds
