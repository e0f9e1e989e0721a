"""Starts everything, watches it, and stops it in order."""

from __future__ import annotations

import http.client
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import redis

from relaykit.local.child import Child, stop_all
from relaykit.local.data_directory import DataDirectory, data_directory
from relaykit.local.errors import BadSetting, LocalModeError
from relaykit.local.issuer_key import issuer_key
from relaykit.local.local_settings import LocalSettings, child_environment, read_local_settings
from relaykit.local.ports import port_taken
from relaykit.local.redis_server import redis_named
from relaykit.local.services import services
from relaykit.local.waiting import StopRequest, wait_until, watch
from relaykit.shared.errors import RelaykitError, SettingsError
from relaykit.shared.postgres.migrate import migrate
from relaykit.shared.redis import keys
from relaykit.shared.redis.keys import Names
from relaykit.shared.settings import load_settings

READY_TIMEOUT_SECONDS = 2.0
STOP_MARGIN_SECONDS = 15.0
"""What a process may take to stop beyond the time it lets runs finish in."""


class Processes:
    """The API and worker processes of one start."""

    def __init__(self) -> None:
        self.apis: list[Child] = []
        self.workers: list[Child] = []

    def all(self) -> list[Child]:
        return [*self.apis, *self.workers]

    def kill(self) -> None:
        for child in self.all():
            child.send(signal.SIGKILL)


def run(environ: Mapping[str, str], stop: StopRequest, processes: Processes) -> None:
    """Runs until `stop` is set. Fills `processes`, so that an impatient caller can kill them.

    Raises LocalModeError when something cannot start or ends on its own, Stopped when `stop` came while starting.
    Whichever way it ends, none of the processes it started is left.
    """
    settings = read_local_settings(environ)
    with data_directory(settings.data_dir) as directory:
        for port in settings.ports:
            if port_taken(settings.host, port):
                raise LocalModeError(f"Port {port} of {settings.host} is taken; set PORT to another.")
        issuer_key(directory)
        (directory.path / "attachments").mkdir(mode=0o700, exist_ok=True)
        with services(directory, environ, stop) as running:
            environment = child_environment(environ, settings, directory, running)
            try:
                load_settings(environment)  # its processes would each say so
                migrate(running.database_url)
            except SettingsError as error:
                raise BadSetting(error.message) from error
            except RelaykitError as error:
                raise LocalModeError(error.message) from error
            deployment = environment.get("DEPLOYMENT", "")
            before = _workers_listening(running.redis_url, deployment)
            with _started(settings, directory, environment, processes):
                everything = [*processes.all(), *running.children]
                wait_until(lambda: _ready(settings), "The API is ready", everything, stop)
                wait_until(
                    lambda: _workers_listening(running.redis_url, deployment) - before >= settings.workers,
                    "The workers are ready",
                    everything,
                    stop,
                )
                redis_line = f"Redis: {redis_named(running.redis_url)}"
                print(f"{redis_line}\nRelaykit is ready: {settings.address}/", flush=True)
                watch(everything, stop)


@contextmanager
def _started(
    settings: LocalSettings, directory: DataDirectory, environment: Mapping[str, str], processes: Processes
) -> Iterator[None]:
    grace_seconds = settings.drain_seconds + STOP_MARGIN_SECONDS
    try:
        for index in range(settings.workers):
            ports = _worker_port(environment, index)
            processes.workers.append(_start("worker", index, directory.path, {**environment, **ports}))
        for index, port in enumerate(settings.ports):
            processes.apis.append(_start("api", index, directory.path, {**environment, "PORT": str(port)}))
        yield
    finally:
        stop_all(processes.apis, signal.SIGTERM, settings.shutdown_delay_seconds + grace_seconds)
        stop_all(processes.workers, signal.SIGTERM, grace_seconds)


def _worker_port(environment: Mapping[str, str], index: int) -> dict[str, str]:
    """WORKER_PORT, where it is one, and the ports after it."""
    first = environment.get("WORKER_PORT", "0")
    return {"WORKER_PORT": str(int(first) + index)} if first.isdecimal() and int(first) else {}


def _start(side: str, index: int, data_dir: Path, environment: Mapping[str, str]) -> Child:
    return Child.start(
        f"{side} {index}",
        [sys.executable, "-m", f"relaykit.{side}"],
        log=data_dir / "logs" / f"{side}-{index}.log",
        env=environment,
        death_signal=signal.SIGKILL,
    )


def _ready(settings: LocalSettings) -> bool:
    return all(_answers_ready(settings.host, port) for port in settings.ports)


def _answers_ready(host: str, port: int) -> bool:
    connection = http.client.HTTPConnection(host, port, timeout=READY_TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _workers_listening(redis_url: str, deployment: str) -> int:
    """How many workers hear cancel signals, which a worker does from when it is up until it ends."""
    try:
        with redis.Redis.from_url(redis_url, socket_timeout=READY_TIMEOUT_SECONDS) as client:
            ((_, count),) = client.pubsub_numsub(Names(deployment)(keys.SIGNALS))
            return int(count)
    except (redis.RedisError, ValueError) as error:  # a text that may hold the URL, and so the password
        raise LocalModeError(f"REDIS_URL: cannot connect ({type(error).__name__})") from None
