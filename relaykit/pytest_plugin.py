"""Fixtures of pytest for a site's tests. They do nothing, and import next to nothing, where a test asks for none.

`relaykit_chat` is `relaykit.testing.chat`. `relaykit_services` is a Redis and a PostgreSQL for the session, which come
with `relaykit[local]`. `relaykit_site` starts an API and a worker on them.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import httpx2

START_SECONDS = 120.0
STOP_SECONDS = 30.0
_READY = re.compile(r"^Relaykit is ready: (http://\S+)/$", re.MULTILINE)


@dataclass(frozen=True)
class TestServices:
    """Where they are. The schema is up to date, and all tests of the session share what is in them."""

    __test__ = False

    redis_url: str
    database_url: str


class RunningSite:
    """An API and a worker that run a site's server. `url` is the API's."""

    def __init__(self, url: str, stack: ExitStack) -> None:
        self.url = url
        self._stack = stack

    def client(self, user: str, tenant: str | None = None) -> httpx2.Client:
        """A client of HTTP with a token of that user, until the test ends."""
        import httpx2

        client = self._stack.enter_context(httpx2.Client(base_url=self.url, timeout=60))
        answer = client.post("/dev/token", json={"sub": user, "tenant": tenant, "ttl_seconds": 3600})
        client.headers["Authorization"] = f"Bearer {answer.raise_for_status().json()['access_token']}"
        return client


@pytest.fixture
def relaykit_chat() -> Callable[..., Any]:
    """`async with relaykit_chat(ShopServer) as chat:`, in memory."""
    from relaykit import testing

    return testing.chat


@pytest.fixture(scope="session")
def relaykit_services() -> Iterator[TestServices]:
    """Those that REDIS_URL and DATABASE_URL name, else servers of the session's own, whose data goes with it."""
    from relaykit.local.data_directory import data_directory
    from relaykit.local.services import services
    from relaykit.local.waiting import StopRequest
    from relaykit.shared.postgres.migrate import migrate

    folder = _open_folder()
    try:
        with (
            data_directory(folder) as directory,
            services(directory, os.environ, StopRequest(), durable=False) as running,
        ):
            migrate(running.database_url)
            yield TestServices(running.redis_url, running.database_url)
    finally:
        _remove(folder)


@pytest.fixture
def relaykit_site(
    relaykit_services: TestServices, request: pytest.FixtureRequest
) -> Iterator[Callable[..., RunningSite]]:
    """`site = relaykit_site("shop.chat:ShopServer")`: started in pytest's root folder, until the test ends.

    More arguments are settings, or variables of the site's own: `THREAD_POLICY="reject"`. Fails, with what the
    processes have said, where they do not start.
    """
    with ExitStack() as stack:

        def start(server: str, **environ: str) -> RunningSite:
            folder = _open_folder()
            stack.callback(_remove, folder)
            given = {
                **os.environ,
                "REDIS_URL": relaykit_services.redis_url,
                "DATABASE_URL": relaykit_services.database_url,
                "DATA_DIR": str(folder),
                "CHATKIT_SERVER": server,
                "PORT": "0",
                **environ,
            }
            output = stack.enter_context((folder / "output").open("w+"))
            process = subprocess.Popen(
                [sys.executable, "-m", "relaykit", "local"],
                cwd=request.config.rootpath,
                env=given,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            stack.callback(_stop, process)
            return RunningSite(_ready(process, folder / "output"), stack)

        yield start


def _ready(process: subprocess.Popen[bytes], output: Path) -> str:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        said = output.read_text()
        if found := _READY.search(said):
            return found[1]
        if process.poll() is not None:
            pytest.fail(f"relaykit local ended with status {process.returncode}:\n{said}", pytrace=False)
        time.sleep(0.05)
    pytest.fail(f"relaykit local was not ready after {START_SECONDS} s:\n{output.read_text()}", pytrace=False)


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _open_folder() -> Path:
    """Right below the temporary folder, where root's PostgreSQL can go as another user."""
    folder = Path(tempfile.mkdtemp(prefix="relaykit-test-"))
    folder.chmod(0o711)
    return folder


def _remove(folder: Path) -> None:
    link = folder / "postgres"
    with suppress(FileNotFoundError):
        if link.is_symlink():  # the data stands elsewhere where the path is too long for a socket
            shutil.rmtree(link.resolve().parent)
        shutil.rmtree(folder)
