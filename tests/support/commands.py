"""`relaykit COMMAND` as a process of its own, with the settings of a test."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from relaykit.shared.settings import Settings
from tests.support.system import ROOT, START_SECONDS, environment

SERVER = "tests.support.servers.relay_servers:ScriptedAnswers"


@dataclass(frozen=True)
class Done:
    """What a command came to."""

    status: int
    output: str
    errors: str

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
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "relaykit",
        *arguments,
        cwd=ROOT,
        env=environment(settings, **{"CHATKIT_SERVER": SERVER, **more}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    async with asyncio.timeout(START_SECONDS):
        output, errors = await process.communicate()
    assert process.returncode is not None
    return Done(process.returncode, output.decode(), errors.decode())


async def answered(settings: Settings, answer: str, *arguments: str) -> Done:
    """The same on a terminal, at which somebody types the answer."""
    ours, theirs = pty.openpty()
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "relaykit",
            *arguments,
            cwd=ROOT,
            env=environment(settings, CHATKIT_SERVER=SERVER),
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        os.write(ours, f"{answer}\n".encode())
        async with asyncio.timeout(START_SECONDS):
            output, errors = await process.communicate()
    finally:
        os.close(ours)
        os.close(theirs)
    assert process.returncode is not None
    return Done(process.returncode, output.decode(), errors.decode())
