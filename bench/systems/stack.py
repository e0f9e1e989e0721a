"""Redis, PostgreSQL and the processes under test, all of a benchmark's own, and what CPU and memory they use."""

from __future__ import annotations

import json
import shutil
import signal
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import URLError

from relaykit.local.child import Child
from relaykit.local.data_directory import DataDirectory, data_directory
from relaykit.local.issuer_key import issuer_key
from relaykit.local.ports import free_port
from relaykit.local.services import Services, services
from relaykit.local.waiting import StopRequest, wait_until
from relaykit.shared.postgres.migrate import migrate

ROOT = Path(__file__).resolve().parents[2]
STOP_SECONDS = 20.0
TOKEN_SECONDS = 86_400


@dataclass
class Process:
    """One process under test. `url` is empty for a worker."""

    child: Child
    url: str = ""

    @property
    def pid(self) -> int:
        return self.child.pid

    def stop(self) -> None:
        self.child.stop(signal.SIGTERM, STOP_SECONDS)

    def kill(self) -> None:
        self.child.send(signal.SIGKILL)
        self.child.wait(STOP_SECONDS)


@dataclass
class Stack:
    """The services, and what was started on them; all of it ends with the block of `stack()`."""

    directory: DataDirectory
    services: Services
    environ: dict[str, str]
    issuer_port: int
    """Of the first API, whose keys all others fetch."""
    processes: list[Process] = field(default_factory=list)
    apis: list[Process] = field(default_factory=list)
    _token: str = ""
    _waits: list[Callable[[], None]] | None = None
    """Within `starting`: for what is not yet ready."""

    @property
    def redis_pid(self) -> int:
        return self.services.children[0].pid

    @property
    def postgres_pid(self) -> int:
        return self.services.children[1].pid

    def start(
        self,
        module: str,
        more: Mapping[str, str],
        *,
        serves: bool,
        port: int = 0,
        python: str = sys.executable,
        ready: str = "/readyz",
    ) -> Process:
        """`python -m module`; one that serves is ready. `more` goes into its environment."""
        port = port or free_port("127.0.0.1")
        environ = {**self.environ, **more, **({"PORT": str(port)} if serves else {})}
        name = f"{module.rpartition('.')[2]}-{len(self.processes)}"
        child = Child.start(
            name,
            [python, "-m", module],
            log=self.directory.path / "logs" / f"{name}.log",
            env=environ,
            cwd=ROOT,
            death_signal=signal.SIGKILL,
        )
        process = Process(child, f"http://127.0.0.1:{port}" if serves else "")
        self.processes.append(process)
        if serves:
            self._await(child, lambda: _answers(f"{process.url}{ready}"))
        return process

    @contextmanager
    def starting(self) -> Iterator[None]:
        """What is started in the block starts side by side, and is ready at its end."""
        waits: list[Callable[[], None]] = []
        self._waits = waits
        try:
            yield
        finally:
            self._waits = None
        for wait in waits:
            wait()

    def _await(self, child: Child, is_ready: Callable[[], bool]) -> None:
        def wait() -> None:
            wait_until(is_ready, f"{child.name} is ready", [child], StopRequest())

        if self._waits is None:
            wait()
        else:
            self._waits.append(wait)

    def api(self, **more: str) -> Process:
        api = self.start("relaykit.api", more, serves=True, port=0 if self.apis else self.issuer_port)
        self.apis.append(api)
        return api

    def worker(self, **more: str) -> Process:
        """Ready once it says so in its log."""
        process = self.start("relaykit.worker", more, serves=False)
        log = self.directory.path / "logs" / f"{process.child.name}.log"
        self._await(process.child, lambda: "worker started" in log.read_text(errors="replace"))
        return process

    def in_process(self, **more: str) -> Process:
        """Baseline (a)."""
        return self.start("bench.baselines.in_process", more, serves=True)

    def token(self) -> str:
        """A token of the caller `bench`, from the first API."""
        if not self._token:
            request = urllib.request.Request(
                f"{self.apis[0].url}/dev/token",
                data=json.dumps({"sub": "bench", "ttl_seconds": TOKEN_SECONDS}).encode(),
                headers={"content-type": "application/json"},
            )
            with urllib.request.urlopen(request) as response:
                self._token = json.load(response)["access_token"]
        return self._token


@contextmanager
def stack(**more: str) -> Iterator[Stack]:
    """Fresh services with the schema in them; `more` goes into the environment of all processes.

    Their data and logs are gone after the block.
    """
    folder = Path(tempfile.mkdtemp(prefix="relaykit-bench-"))
    folder.chmod(0o711)
    with ExitStack() as ending:
        ending.callback(_remove, folder)
        directory = ending.enter_context(data_directory(folder))
        issuer_key(directory)
        running = ending.enter_context(services(directory, {}, StopRequest(), durable=True))
        migrate(running.database_url)
        port = free_port("127.0.0.1")
        found = Stack(directory, running, {**_environ(directory, running, port), **more}, port)
        try:
            yield found
        finally:
            for process in found.processes:
                process.child.send(signal.SIGTERM)
            for process in found.processes:
                process.stop()


def _remove(folder: Path) -> None:
    """As root, PostgreSQL keeps its data elsewhere, as another user."""
    data = folder / "postgres"
    if data.is_symlink():
        shutil.rmtree(data.resolve().parent)
    shutil.rmtree(folder)


def _environ(directory: DataDirectory, running: Services, issuer_port: int) -> dict[str, str]:
    issuer = f"http://127.0.0.1:{issuer_port}"
    return {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(ROOT),
        "REDIS_URL": running.redis_url,
        "DATABASE_URL": running.database_url,
        "CHATKIT_SERVER": "bench.systems.server:BenchServer",
        "LOCAL_ISSUER_KEY_FILE": str(directory.path / "issuer.pem"),
        "JWKS_URL": f"{issuer}/dev/jwks.json",
        "JWT_ISSUER": issuer,
        "JWT_AUDIENCE": "bench",
        "CALLER_REQUESTS_PER_MINUTE": "0",
        "CALLER_MAX_RUNS": "0",
        "CALLER_MAX_STREAMS": "0",
        "QUEUE_MAX_DEPTH": "0",
        "MAX_RUNS": "1000",
        "SHUTDOWN_DELAY_SECONDS": "0",
        "DRAIN_SECONDS": "1",
    }


def _answers(url: str) -> bool:
    with suppress(URLError, OSError), urllib.request.urlopen(url, timeout=2) as response:
        return bool(response.status == 200)
    return False
