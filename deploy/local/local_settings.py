"""What local mode itself reads from the environment, and what it hands to its API and worker processes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from relaykit.local.data_directory import DataDirectory
from relaykit.local.errors import BadSetting
from relaykit.local.ports import authority, free_port
from relaykit.local.services import Services
from relaykit.shared.settings import LOOPBACK_HOSTS

DATA_DIR = ".relaykit"
"""A folder in the one where the command is called."""
MAX_PROCESSES = 64
DRAIN_SECONDS = 5.0
"""The person who pressed Ctrl-C waits for it; a deployment has 25."""
SHUTDOWN_DELAY_SECONDS = 0.0
"""No balancer is in front of local mode."""


@dataclass(frozen=True)
class LocalSettings:
    """`ports` has one for each API process."""

    host: str
    ports: tuple[int, ...]
    workers: int
    shutdown_delay_seconds: float
    drain_seconds: float
    data_dir: Path

    @property
    def address(self) -> str:
        return f"http://{authority(self.host, self.ports[0])}"


def read_local_settings(environ: Mapping[str, str]) -> LocalSettings:
    """HOST, PORT (0: any free ones), API_PROCESSES, WORKERS, the times of a stop, and DATA_DIR.

    Raises BadSetting.
    """
    host = environ.get("HOST") or "127.0.0.1"
    if host not in LOOPBACK_HOSTS:
        raise BadSetting("HOST: local mode listens on loopback only; use 127.0.0.1, ::1 or localhost.")
    processes = _number(environ, "API_PROCESSES", 1, at_least=1, at_most=MAX_PROCESSES)
    port = _number(environ, "PORT", 8000, at_least=0, at_most=65536 - processes)
    ports = [port + index if port else free_port(host) for index in range(processes)]
    return LocalSettings(
        host=host,
        ports=tuple(ports),
        workers=_number(environ, "WORKERS", 1, at_least=0, at_most=MAX_PROCESSES),
        shutdown_delay_seconds=_seconds(environ, "SHUTDOWN_DELAY_SECONDS", SHUTDOWN_DELAY_SECONDS),
        drain_seconds=_seconds(environ, "DRAIN_SECONDS", DRAIN_SECONDS),
        data_dir=Path(environ.get("DATA_DIR") or Path.cwd() / DATA_DIR),
    )


def child_environment(
    environ: Mapping[str, str], settings: LocalSettings, directory: DataDirectory, services: Services
) -> dict[str, str]:
    """The environment of the API and worker processes, PORT aside: what is set stays, what is not gets a value."""
    local = {
        "JWKS_URL": f"{settings.address}/dev/jwks.json",
        "JWT_ISSUER": settings.address,
        "JWT_AUDIENCE": "relaykit-local",
        "LOCAL_ISSUER_KEY_FILE": str(directory.path / "issuer.pem"),
        "PUBLIC_URL": settings.address,
        "ATTACHMENTS_URL": (directory.path / "attachments").as_uri(),
        "ATTACHMENTS_KEY": directory.secret("attachments.key"),
        "LOG_FORMAT": "console",
        "SHUTDOWN_DELAY_SECONDS": str(settings.shutdown_delay_seconds),
        "DRAIN_SECONDS": str(settings.drain_seconds),
        "BLOCKED_SECONDS": "0",  # a debugger stops the loop for as long as it likes
        "REDIS_URL": services.redis_url,
        "DATABASE_URL": services.database_url,
        "HOST": settings.host,
    }
    given = {name: value for name, value in environ.items() if value}
    return {**local, **given}


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
