"""What a process tells its service manager, and the socket that it takes from it."""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from relaykit.local.child import Child
from relaykit.shared.errors import SettingsError
from relaykit.shared.process.listener import given_listener
from relaykit.shared.process.notify import READY, notify


@pytest.mark.parametrize("is_abstract", [False, True])
def test_the_state_reaches_the_managers_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_abstract: bool
) -> None:
    name = f"relaykit-test-{os.getpid()}" if is_abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0{name}" if is_abstract else name)
        manager.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}" if is_abstract else name)
        notify(READY)
        assert manager.recv(100) == f"READY=1\nMAINPID={os.getpid()}".encode()


def test_without_a_manager_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify(READY)


def test_a_manager_that_is_gone_harms_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    notify(READY)


def test_a_socket_that_was_given_to_another_process_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables are inherited by every process below."""
    monkeypatch.setenv("LISTEN_FDS", "1")
    monkeypatch.setenv("LISTEN_PID", str(os.getppid()))
    assert given_listener() is None


def test_several_sockets_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN_FDS", "2")
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    with pytest.raises(SettingsError, match="LISTEN_FDS: must be 1"):
        given_listener()


GIVEN = """
import os
from relaykit.shared.process.listener import given_listener
os.environ["LISTEN_PID"] = str(os.getpid())
listener = given_listener()
print(listener.getsockname()[1], os.get_inheritable(listener.fileno()))
"""


def test_a_socket_that_is_given_is_taken_and_no_process_below_inherits_it(tmp_path: Path) -> None:
    """A daemon that the site's code starts would keep the port otherwise."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        log = tmp_path / "log"
        child = Child.start(
            "taker",
            [sys.executable, "-c", GIVEN],
            log=log,
            env={**os.environ, "LISTEN_FDS": "1"},
            death_signal=signal.SIGKILL,
            listener=listener.fileno(),
        )
        assert child.wait(60)
        assert log.read_text() == f"{listener.getsockname()[1]} False\n"
