"""An API process says that it has started when its clients can connect, and not before."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from relaykit.api.http import server as http_server
from relaykit.shared.settings import Settings
from tests.support.system import _serving


async def test_the_line_that_it_has_started_names_a_port_that_takes_connections(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The port is the one that clients reach, also where the settings leave it to the system."""
    reached: list[int] = []
    log = http_server.log

    class Spy:
        def info(self, message: str, **fields: Any) -> None:
            if fields["action"] == "api_start":
                with socket.create_connection((fields["host"], fields["port"]), timeout=5):
                    reached.append(fields["port"])

        def __getattr__(self, name: str) -> Any:
            return getattr(log, name)

    monkeypatch.setattr(http_server, "log", Spy())
    async with _serving(settings, None, 0):
        pass
    assert reached
