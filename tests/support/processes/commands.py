"""`relaykit COMMAND` as a process of its own, with the settings of a test."""

from __future__ import annotations

import asyncio
import json
import os
import pty
from dataclasses import dataclass
from functools import partial
from typing import Any

from relaykit.shared.settings import Settings
from tests.support.processes.forked import Finished, run_command
from tests.support.system import START_SECONDS, environment

SERVER = "tests.support.servers.relay_servers:ScriptedAnswers"


@dataclass(frozen=True)
class Done(Finished):
    """What a command came to, as a test asks it."""

    @property
    def json(self) -> Any:
        """The one object."""
        return json.loads(self.output)

    @property
    def lines(self) -> list[Any]:
        """A list, one object a line."""
        return [json.loads(line) for line in self.output.splitlines()]

    @property
    def error(self) -> str:
        """The one line."""
        assert self.errors.count("\n") == 1, self.errors
        return self.errors.strip()


async def command(settings: Settings, *arguments: str, **more: str) -> Done:
    """Nobody can be asked: its input is no terminal."""
    return await _run(settings, arguments, more, os.devnull)


async def answered(settings: Settings, answer: str, *arguments: str) -> Done:
    """The same on a terminal, at which somebody types the answer."""
    ours, theirs = pty.openpty()
    try:
        os.write(ours, f"{answer}\n".encode())
        return await _run(settings, arguments, {}, os.ttyname(theirs))
    finally:
        os.close(ours)
        os.close(theirs)


async def _run(settings: Settings, arguments: tuple[str, ...], more: dict[str, str], terminal: str) -> Done:
    environ = environment(settings, **{"CHATKIT_SERVER": SERVER, **more})
    call = partial(run_command, arguments, environ, terminal=terminal, timeout=START_SECONDS)
    return Done(**vars(await asyncio.to_thread(call)))
