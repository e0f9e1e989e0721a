"""Local mode as real processes, and a headless Chromium in front of it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext

from tests.e2e.page.cutting_proxy import CuttingProxy
from tests.e2e.page.user import User
from tests.support.services.databases import Databases, RedisDatabases
from tests.support.system import ROOT, free_port

READY_SECONDS = 240
STOP_SECONDS = 120


@pytest.fixture(scope="package")
def address(
    redis_databases: RedisDatabases, databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """`relaykit local` with the server of this package; the address it prints."""
    directory = tmp_path_factory.mktemp("local-mode")
    with redis_databases.fresh() as redis_url, databases.fresh(migrated=False) as database_url:
        given = {
            "REDIS_URL": redis_url,
            "DATABASE_URL": database_url,
            "DATA_DIR": str(directory),
            "PORT": str(free_port()),
            "CHATKIT_SERVER": "tests.e2e.page.server:PageServer",
            "PYTHONPATH": str(ROOT),
            "JWT_LEEWAY_SECONDS": "0",
        }
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        process = subprocess.Popen(
            [sys.executable, "-m", "relaykit", "local"],
            cwd=ROOT,
            env={**kept, **given},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            yield _printed_address(process)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                raise


def _printed_address(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    deadline = time.monotonic() + READY_SECONDS
    printed = []
    while time.monotonic() < deadline and (line := process.stdout.readline()):
        printed.append(line)
        if match := re.search(r"ready: (http://\S+?)/?\s*$", line):
            return match[1]
    raise AssertionError(f"local mode printed no address: {''.join(printed)}")


@pytest.fixture
def new_user(browser: Browser, address: str, request: pytest.FixtureRequest) -> Iterator[Callable[..., User]]:
    """Makes users in browsers of their own. At the end none of their pages has had an error in its console."""
    contexts: list[BrowserContext] = []
    users: list[User] = []

    def make(name: str | None = None, at: str = address, **options: object) -> User:
        context = browser.new_context(base_url=at, **options)  # type: ignore[arg-type]
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        contexts.append(context)
        user = User(context, name or request.node.name[-90:])
        users.append(user)
        return user

    yield make
    for context in contexts:
        context.close()
    assert [error for user in users for error in user.errors] == []


@pytest.fixture
def user(new_user: Callable[..., User]) -> User:
    """One signed-in user."""
    return new_user().sign_in()


@pytest.fixture
def proxy(address: str) -> Iterator[CuttingProxy]:
    with CuttingProxy(address) as running:
        yield running
