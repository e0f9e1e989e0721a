"""The plugin of pytest, as a site's tests use it: by a pytest of its own, in a folder of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.sites.dev_site import Site
from tests.support.system import ROOT

pytestmark = pytest.mark.long

USES_NONE = """
import sys

def test_nothing_of_the_product_is_loaded():
    loaded = {name for name in sys.modules if name.startswith("relaykit")}
    assert loaded == {"relaykit", "relaykit.pytest_plugin"}
    assert "chatkit" not in sys.modules
"""
USES_CHAT = """
from shop.chat import ShopServer

async def test_it_answers(relaykit_chat):
    async with relaykit_chat(ShopServer) as chat:
        assert (await chat.say("hi")).text.startswith("first")
"""
USES_SITE = """
def body(text):
    message = {"content": [{"type": "input_text", "text": text}], "attachments": [], "inference_options": {}}
    return {"type": "threads.create", "params": {"input": message}}

def test_it_answers_over_http(relaykit_site, relaykit_services):
    site = relaykit_site("shop.chat:ShopServer", GREETING="hello")
    alice, bob = site.client("alice"), site.client("bob", tenant="acme")
    answer = alice.post("/chatkit", json=body("hi")).text
    assert "first" in answer and "hello" in answer and ": end completed" in answer
    listed = {"type": "threads.list", "params": {}}
    assert len(alice.post("/chatkit", json=listed).json()["data"]) == 1
    assert bob.post("/chatkit", json=listed).json()["data"] == []
    assert relaykit_services.redis_url and relaykit_services.database_url

def test_another_server_in_the_same_session(relaykit_site):
    assert relaykit_site("shop.chat:ShopServer").client("carol").get("/readyz").status_code == 200
"""
FAILS = """
def test_what_does_not_start_is_told(relaykit_site):
    relaykit_site("shop.nothing:Server")
"""


def run_pytest(folder: Path, source: str) -> subprocess.CompletedProcess[str]:
    (folder / "pyproject.toml").write_text(
        '[tool.pytest.ini_options]\nasyncio_mode = "auto"\npythonpath = ["."]\n'
    )
    (folder / "test_shop.py").write_text(source)
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "relaykit.pytest_plugin", "-p", "no:schemathesis"],
        cwd=folder,
        env={**kept, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.parametrize("source", [USES_NONE, USES_CHAT, USES_SITE], ids=["none", "chat", "site"])
def test_its_fixtures(tmp_path: Path, source: str) -> None:
    Site(tmp_path)
    done = run_pytest(tmp_path, source)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_site_that_does_not_start_fails_with_what_it_said(tmp_path: Path) -> None:
    Site(tmp_path)
    done = run_pytest(tmp_path, FAILS)
    assert done.returncode == 1
    assert "relaykit local ended with status 2" in done.stdout
    assert "No module named 'shop.nothing'" in done.stdout
