"""The ports of local mode: where none can be had, that is said."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from relaykit.local.ports import free_port


def test_where_no_port_can_be_had_the_last_refusal_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    """A firewall of the machine, or a program that has them all."""

    class Refusing(socket.socket):
        def bind(self, address: Any) -> None:
            if address[1]:
                raise PermissionError(13, "Permission denied")
            super().bind(address)

    monkeypatch.setattr("relaykit.local.ports.socket.socket", Refusing)
    with pytest.raises(PermissionError):
        free_port()


def test_a_port_that_is_taken_is_no_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        tried = [taken.getsockname()[1], free_port()]
        expected = tried[1]
        monkeypatch.setattr("relaykit.local.ports.random.randint", lambda *_: tried.pop(0))
        assert free_port() == expected
