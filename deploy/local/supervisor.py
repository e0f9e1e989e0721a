"""Starts everything, keeps it going, and stops it in order."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from typing import TYPE_CHECKING

from relaykit.local.data_directory import DataDirectory, data_directory
from relaykit.local.environment import (
    ENVIRONMENT_FILE,
    child_environment,
    site_environment,
    write_environment,
)
from relaykit.local.errors import BadSetting, ExtraMissing, LocalModeError
from relaykit.local.fleet import Fleet, Role
from relaykit.local.issuer_key import issuer_key
from relaykit.local.local_settings import (
    DEV_DRAIN_SECONDS,
    DRAIN_SECONDS,
    LocalSettings,
    read_local_settings,
)
from relaykit.local.readiness import readiness
from relaykit.local.redis_server import reach_redis, redis_named
from relaykit.local.services import Services, services
from relaykit.local.terminal import Terminal
from relaykit.local.waiting import StopRequest, wait_until
from relaykit.shared.errors import RelaykitError, SettingsError
from relaykit.shared.postgres.migrate import migrate
from relaykit.shared.process.listener import bind
from relaykit.shared.settings import load_settings

if TYPE_CHECKING:
    from relaykit.local.file_changes import FileChanges

STOP_MARGIN_SECONDS = 15.0
"""What a process may take to stop beyond the time it lets runs finish in."""
STEP_SECONDS = 0.05
PLACEHOLDERS = Services("redis://127.0.0.1", "postgresql://127.0.0.1")
"""Where services of local mode's own will be, for a look at the settings before there are any."""
BACKLOG = 2048
"""Connections that wait while an API process is replaced."""


class Processes:
    """The API and worker processes of one start, for a caller who is impatient."""

    def __init__(self) -> None:
        self.fleet: Fleet | None = None

    def kill(self) -> None:
        if self.fleet is not None:
            self.fleet.kill()


def run(environ: Mapping[str, str], stop: StopRequest, processes: Processes, *, reload: bool = False) -> None:
    """Runs until `stop` is set. Fills `processes`. `reload`: saving a file of the site's replaces the processes.

    Raises LocalModeError when something cannot start, or a service ends again and again, Stopped when `stop` came while
    starting. Whichever way it ends, none of the processes it started is left.
    """
    with closing(Terminal(sys.stdout)) as terminal:
        _run(environ, stop, processes, terminal, reload=reload)


def _run(
    environ: Mapping[str, str], stop: StopRequest, processes: Processes, terminal: Terminal, *, reload: bool
) -> None:
    given = site_environment(environ)
    settings = read_local_settings(given, DEV_DRAIN_SECONDS if reload else DRAIN_SECONDS)
    with data_directory(settings.data_dir) as directory, ExitStack() as stack:
        changes = stack.enter_context(_watched(settings)) if reload else None
        roles = _roles(settings, stack)
        issuer_key(directory)
        (directory.path / "attachments").mkdir(mode=0o700, exist_ok=True)
        _check({**child_environment(given, settings, directory, PLACEHOLDERS), **given})
        terminal.say("Starting Redis and PostgreSQL ...")
        running = stack.enter_context(services(directory, given, stop))
        reach_redis(running.redis_url)
        terminal.say(f"Redis: {redis_named(running.redis_url)}")
        try:
            migrate(running.database_url)
        except RelaykitError as error:
            raise LocalModeError(error.message) from error
        fleet = Fleet(
            roles,
            lambda: _environment(environ, settings, directory, running, terminal),
            directory.path,
            stack.enter_context(readiness()),
            terminal,
            settings.drain_seconds + STOP_MARGIN_SECONDS,
        )
        processes.fleet = fleet
        terminal.say("Starting the API and the workers ...")
        try:
            fleet.start()
            wait_until(lambda: fleet.is_ready, "The API and the workers are ready", running.children, stop)
            terminal.say(f"Relaykit is ready: {settings.address}/")
            if "CHATKIT_APP" in given:  # which may have a page of its own there
                terminal.say(f"To try the chat: {settings.address}/demo")
            _keep_going(fleet, changes, running, stop)
        finally:
            fleet.stop(settings.shutdown_delay_seconds)
            (directory.path / ENVIRONMENT_FILE).unlink(missing_ok=True)


def _check(environment: Mapping[str, str]) -> None:
    """Raises BadSetting for what each of the processes would refuse, before anything is started."""
    try:
        load_settings(environment)
    except SettingsError as error:
        raise BadSetting(error.message) from error


def _watched(settings: LocalSettings) -> AbstractContextManager[FileChanges]:
    try:
        from relaykit.local.file_changes import watched
    except ModuleNotFoundError as error:
        raise ExtraMissing(error.name or "a package") from error
    return watched(settings.folder, settings.data_dir)


def _keep_going(fleet: Fleet, changes: FileChanges | None, running: Services, stop: StopRequest) -> None:
    while not stop.requested:
        running.start_ended(fleet.terminal)
        if changes is not None:
            if paths := changes.taken():
                fleet.reload(anew=changes.are_ours(paths))
            if changes.failure is not None:
                fleet.terminal.say(
                    f"The files are not watched any more ({changes.failure}): start again to load them."
                )
                changes = None
        fleet.step()
        time.sleep(STEP_SECONDS)


@contextmanager
def _listener(host: str, port: int, variable: str) -> Iterator[socket.socket]:
    """A socket that listens for all the processes that there are at its port one after the other."""
    try:
        listener = bind(host, port, f"HOST, {variable}")
    except RelaykitError as error:
        raise LocalModeError(f"Port {port} of {host} is taken; set {variable} to another.") from error
    with listener:
        listener.listen(BACKLOG)
        yield listener


def _roles(settings: LocalSettings, listening: ExitStack) -> list[Role]:
    """Each with a socket for what it listens on, which stays open while its process is replaced."""
    workers = [
        _role("worker", index, "WORKER_PORT", settings.host, port, listening)
        for index, port in enumerate(settings.worker_ports)
    ]
    apis = [
        _role("api", index, "PORT", settings.host, port, listening)
        for index, port in enumerate(settings.ports)
    ]
    return [*workers, *apis]


def _role(side: str, index: int, variable: str, host: str, port: int | None, listening: ExitStack) -> Role:
    if port is None:
        return Role(f"{side} {index}", side, f"relaykit.{side}", {})
    listener = listening.enter_context(_listener(host, port, variable))
    own = {variable: str(port), "LISTEN_FDS": "1"}
    return Role(f"{side} {index}", side, f"relaykit.{side}", own, listener.fileno())


def _environment(
    environ: Mapping[str, str],
    settings: LocalSettings,
    directory: DataDirectory,
    running: Services,
    terminal: Terminal,
) -> dict[str, str]:
    """Of a process that starts now; what a person needs of it for a process of their own is in a file beside."""
    environment = child_environment(site_environment(environ), settings, directory, running)
    write_environment(directory, environment)
    if terminal.has_colours:
        environment.setdefault("FORCE_COLOR", "1")
    return {"PYTHONUNBUFFERED": "1", **environment}
