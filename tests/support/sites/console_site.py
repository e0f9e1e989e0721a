"""A deployment with the operators' console: API and worker processes, and callers without a browser."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import psycopg

from relaykit.api import queue_watch
from relaykit.api.local.issuer import LocalIssuer, TokenRequest
from relaykit.shared.settings import Settings
from tests.support.processes.local_mode import wait_until
from tests.support.servers.relay_servers import Script
from tests.support.system import Process, create, fork_process, free_port

SERVER = "tests.support.servers.relay_servers:ScriptedAnswers"


@dataclass
class ConsoleSite:
    """Its first API, at `address`, is its issuer, and signs operators in as local mode does."""

    settings: Settings
    folder: Path
    api: Process = field(init=False)
    processes: list[Process] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.settings.port}"

    def start(self) -> None:
        """The first API, also after it was killed."""
        self.api = self._start_api(self.settings, self.settings.port)

    def start_deployed_api(self, **more: object) -> str:
        """The address of another API, with `more` settings, which is not local mode's and takes the issuer's tokens."""
        port = free_port()
        given = {"local_issuer_key_file": None, "port": port, **more}
        deployed = self.settings.model_copy(update=given)
        self._start_api(deployed, port)
        return f"http://127.0.0.1:{port}"

    def start_worker(self, **more: str) -> Process:
        log = self.folder / f"worker-{len(self.processes)}.log"
        worker = fork_process("worker", self.settings, log, **more)
        self.processes.append(worker)
        return worker

    def stop(self) -> None:
        for process in self.processes:
            if process.popen.poll() is None:
                process.kill()

    def token(self, sub: str = "ann", *, is_operator: bool = True, sees_content: bool = True) -> str:
        key_file = self.settings.local_issuer_key_file
        assert key_file
        content = self.settings.ops_content_claim if sees_content else None
        issuer = LocalIssuer(self.settings.model_copy(update={"ops_content_claim": content}), key_file)
        return issuer.token(TokenRequest(sub=sub, operator=is_operator, ttl_seconds=600))

    def accept(self, script: Script, sub: str = "alice", thread: str | None = None) -> str:
        """The id of a run that was accepted; its caller does not wait for the answer."""
        request = create(str(script))
        if thread is not None:
            request["type"] = "threads.add_user_message"
            request["params"]["thread_id"] = thread
        headers = {"Authorization": f"Bearer {self.token(sub, is_operator=False)}", "Relaykit-Resume": "1"}
        with httpx2.stream("POST", f"{self.address}/chatkit", json=request, headers=headers) as response:
            assert response.status_code == 200
            return str(response.headers["x-run-id"])

    def ask(self, path: str) -> Any:
        """What the console's API says to an operator."""
        headers = {"Authorization": f"Bearer {self.token()}"}
        response = httpx2.get(f"{self.address}/ops/api/{path}", headers=headers)
        assert response.status_code == 200, response.text
        return response.json()

    def wait_for_status(self, run_id: str, status: str) -> None:
        wait_until(f"the run is {status}", lambda: self.ask(f"runs/{run_id}")["status"] == status)

    def execute(self, statement: str, *parameters: object) -> None:
        with psycopg.connect(self.settings.database_url, autocommit=True) as connection:
            connection.execute(statement, parameters)  # type: ignore[call-overload]

    def found(self, statement: str, *parameters: object) -> list[Any]:
        with psycopg.connect(self.settings.database_url, autocommit=True) as connection:
            return connection.execute(statement, parameters).fetchall()

    def _start_api(self, settings: Settings, port: int) -> Process:
        api = fork_process("api", settings, self.folder / f"api-{port}.log", _look_often)
        self.processes.append(api)
        wait_until("the API answers", lambda: _answers(api, f"http://127.0.0.1:{port}/readyz"))
        return api


def _look_often() -> None:
    """At the queue, whose figures an API else asks for every five seconds, and the console shows."""
    queue_watch.LOOK_SECONDS = 0.5
    queue_watch.ASKING_SECONDS = 0.45


def _answers(api: Process, url: str) -> bool:
    assert api.popen.poll() is None, api.output
    try:
        return httpx2.get(url).status_code == 200
    except httpx2.TransportError:
        return False


@contextmanager
def console_site(settings: Settings, folder: Path, **more: object) -> Iterator[ConsoleSite]:
    """With `more` settings."""
    given = {"chatkit_server": SERVER, "ops_claim": "ops", "ops_content_claim": "ops_content", **more}
    site = ConsoleSite(settings.model_copy(update=given), folder)
    try:
        site.start()
        yield site
    finally:
        site.stop()
