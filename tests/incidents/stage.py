"""A whole deployment with users and a Prometheus that scrapes all of it, in which an incident is injected.

Prometheus has the rules of deploy/ in time-lapse, so that an alert that needs minutes fires within half of one.
"""

from __future__ import annotations

import asyncio
import json
import re
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2

from relaykit.shared.settings import Settings
from relaykit.shared.tasks import end_tasks
from tests.incidents.console import CLAIM, overview
from tests.incidents.table import Row
from tests.prometheus.rules import in_time_lapse, shortened
from tests.support.processes.commands import command
from tests.support.servers.relay_servers import Script
from tests.support.services.prometheus import Prometheus, prometheus
from tests.support.system import (
    Caller,
    Process,
    Processes,
    create,
    fork_process,
    free_port,
    keyed,
    make_settings,
    running_processes,
    start_process,
    wait_until,
)

SERVER = "tests.support.servers.observed_servers:ObservedAnswers"
LAPSE = 6
"""Each duration of the rules is this part of what it is in deploy/."""
LEASE_SECONDS = 10
SHORT_LEASE_SECONDS = 3
"""Of workers that die: they are forgotten, as with the defaults, before RelaykitProcessDown would fire."""
WORKERS = 2
USER_SECONDS = 5.0
"""After which a user gives up a request."""
ALERT_SECONDS = 240.0
WATCHED_SECONDS = 3 * 60 / LAPSE
"""For how long no other alert fires beside those of an incident: the range and the `for` of most are over by then."""
TELLING = ("action", "reason", "status", "code", "cause_code")
HELD = Script(deltas=2)


@dataclass
class Stage:
    settings: Settings
    folder: Path
    system: Processes
    server: Prometheus
    worker_ports: list[int]
    alice: Caller
    _seen: dict[Path, int] = field(default_factory=dict)
    """How much of each log there was before the incident."""

    def start_worker(self, port: int, *, forked: bool = True, **more: str) -> Process:
        system = self.system
        log = system.directory / f"worker-{len(system.worker_processes)}.log"
        start = fork_process if forked else start_process
        process = start("worker", self.settings, log, WORKER_PORT=str(port), **more)
        system.worker_processes.append(process)
        return process

    async def is_well(self, row: Row) -> None:
        """All processes work, no alert fires, and nothing of the incident is to be seen."""

        async def all_work() -> bool:
            claiming = await self.server.query(f'relaykit_workers{{state="claiming"}} == {WORKERS}')
            return bool(claiming) and len(await self.server.query("up == 1")) == WORKERS + 1

        await wait_until("all processes are there and scraped", all_work)
        answer = await self.alice.stream(create(str(Script(deltas=5))), keyed(uuid4()))
        assert answer.end == "completed"

        async def is_unseen() -> bool:
            return not any([await self.server.query(shortened(each, LAPSE)) for each in row.metrics])

        await wait_until("no metric shows the incident", is_unseen)
        assert await self.firing() == set()
        self._seen = {log: len(log.read_bytes()) for log in self.folder.glob("*.log")}

    async def shows(self, row: Row, outputs: Mapping[str, str]) -> None:
        """All that the row names shows the incident, and no other alert fires.

        `outputs` has for each command of the row what its output has to match.
        """
        assert set(outputs) == set(row.commands)
        for query in row.metrics:
            await self._returns(query)
        async with self._watched(row):
            for wanted in row.lines:
                await self._logs(wanted)
            for given, pattern in outputs.items():
                await self._prints(given, pattern)
            await self._console_tells()

    async def _returns(self, query: str) -> None:
        async def returns() -> bool:
            return bool(await self.server.query(shortened(query, LAPSE)))

        await wait_until(f"{query} returns something", returns)

    @asynccontextmanager
    async def _watched(self, row: Row) -> AsyncIterator[None]:
        """The alerts of the row fire, and none beside them, in the whole block and for WATCHED_SECONDS at least."""
        loop, watched_from = asyncio.get_running_loop(), 0.0

        async def fire() -> bool:
            fired = await self.firing()
            assert fired <= row.fires | row.follows, f"{fired - row.fires - row.follows} fire too"
            return row.fires <= fired

        async def watch() -> None:
            while is_inside or loop.time() - watched_from < WATCHED_SECONDS:
                await fire()
                await asyncio.sleep(0.5)

        await wait_until(f"{set(row.fires)} fire", fire, ALERT_SECONDS)
        watched_from, is_inside = loop.time(), True
        watching = asyncio.create_task(watch())
        try:
            yield
            is_inside = False
            await watching
        finally:
            await end_tasks([watching])

    async def _logs(self, wanted: Mapping[str, str]) -> None:
        try:
            await wait_until(f"a line with {wanted}", lambda: self.logged(wanted))
        except AssertionError as error:
            said = {
                tuple(f"{name}={line[name]}" for name in TELLING if name in line) for line in self._lines()
            }
            raise AssertionError(f"{error}; there are {sorted(said)}") from None

    async def _prints(self, given: str, pattern: str) -> None:
        output = ""

        async def matches() -> bool:
            nonlocal output
            done = await command(self.settings, *given.removeprefix("relaykit ").split())
            output = done.output + done.errors
            return re.search(pattern, output) is not None

        try:
            await wait_until(f"`{given}` prints {pattern!r}", matches)
        except AssertionError as error:
            raise AssertionError(f"{error}; it printed\n{output}") from None

    async def _console_tells(self) -> None:
        """The console's overview has what the command has, or says which service its API cannot ask."""
        async with httpx2.AsyncClient(base_url=self.system.urls[0], timeout=60) as client:
            told = await overview(client)
        if (told["postgresql"], told["redis"]) == ("ok", "ok"):
            status = (await command(self.settings, "status", "--json")).json
            assert set(status) - {"queue"} <= set(told)  # an API may not know the queue yet, or any more

    async def firing(self) -> set[str]:
        found = await self.server.query('ALERTS{alertstate="firing"}')
        return {sample["metric"]["alertname"] for sample in found}

    def logged(self, wanted: Mapping[str, str]) -> list[dict[str, Any]]:
        """The lines since the incident began that have these fields."""
        return [
            line
            for line in self._lines()
            if all(str(line.get(name)) == text for name, text in wanted.items())
        ]

    def _lines(self) -> list[dict[str, Any]]:
        found = []
        for log in self.folder.glob("*.log"):
            # the last piece is no whole line, or empty
            for text in log.read_bytes()[self._seen.get(log, 0) :].split(b"\n")[:-1]:
                if text.startswith(b"{"):
                    found.append(json.loads(text))
        return found

    @asynccontextmanager
    async def users(self, *texts: str) -> AsyncIterator[None]:
        """Somebody writes one message after the other, these by turns, and gives up what takes too long."""
        writing = asyncio.create_task(self._write(texts or (str(HELD),)))
        try:
            yield
        finally:
            assert not writing.done(), writing
            await end_tasks([writing])

    async def _write(self, texts: Sequence[str]) -> None:
        number = 0
        while True:
            try:
                async with asyncio.timeout(USER_SECONDS):
                    await self.alice.post(create(texts[number % len(texts)]), keyed(uuid4()))
            except (TimeoutError, httpx2.TransportError):
                pass  # as users do in an incident, they try again
            number += 1
            await asyncio.sleep(0.2)


def freeze(process: Process) -> None:
    process.popen.send_signal(signal.SIGSTOP)


@asynccontextmanager
async def staged(
    folder: Path, redis_url: str, database_url: str, key_file: Path, **given: Any
) -> AsyncIterator[Stage]:
    """One API and two workers, all of them scraped, and alice, who is signed in."""
    ports = [free_port() for _ in range(WORKERS)]
    processes = folder / "processes"
    processes.mkdir()
    rules = folder / "rules.json"
    rules.write_text(json.dumps(in_time_lapse(LAPSE)))
    settings = make_settings(
        redis_url,
        database_url,
        key_file,
        free_port(),
        **{
            "chatkit_server": SERVER,
            "lease_seconds": LEASE_SECONDS,
            "pickup_warn_seconds": 5,
            "blocked_seconds": 0,
            "ops_claim": CLAIM,
            **given,
        },
    )
    async with AsyncExitStack() as stack:
        system = await stack.enter_async_context(
            running_processes(settings, processes, workers=0, start=fork_process)
        )
        server = await stack.enter_async_context(prometheus(folder, rules, api=[settings.port], worker=ports))
        stage = Stage(settings, processes, system, server, ports, await system.caller("alice", "acme"))
        for port in ports:
            stage.start_worker(port)
        yield stage
