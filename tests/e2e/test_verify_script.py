"""scripts/verify.py says that all is well where it is, and what is not where it is not."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.repository.documents import ROOT

SCRIPT = ROOT / "scripts" / "verify.py"


@pytest.fixture
def verify() -> ModuleType:
    spec = importlib.util.spec_from_file_location("verify", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.long
def test_it_checks_a_whole_relaykit_and_leaves_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, SCRIPT], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("✓ everything was stopped in order\n✓ building-chat-interfaces skill ready\n")
    assert not done.stderr


def test_what_does_not_hold_is_said_with_status_1(
    verify: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An API that answers nothing, at a port where nobody listens."""

    @contextmanager
    def broken(folder: Path) -> Iterator[str]:
        yield "http://127.0.0.1:1"

    monkeypatch.setattr(verify, "relaykit", broken)
    monkeypatch.setattr(verify, "environment", lambda: None)
    assert verify.main() == 1
    said = capsys.readouterr()
    assert said.err.startswith("✗ ")
    assert verify.DONE not in said.out


def test_an_event_that_comes_twice_fails_it(verify: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    events = [verify.Event(f"1-{number}", {"type": "notice"}) for number in range(verify.READ_BEFORE_THE_CUT)]
    monkeypatch.setattr(verify, "post", lambda *_: {"access_token": "x", "data": []})
    monkeypatch.setattr(verify, "ask", lambda *_, **__: verify.Stream("run", events, None))
    monkeypatch.setattr(verify, "resume", lambda *_: verify.Stream("run", events[-1:], "completed"))
    with pytest.raises(verify.Failed, match="no event came twice"):
        verify.check("http://127.0.0.1:1")
