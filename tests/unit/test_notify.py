"""What a process tells its service manager, and the socket that it takes from it."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

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
