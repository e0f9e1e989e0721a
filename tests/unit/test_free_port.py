"""Free ports, of local mode and of the tests: none twice, and where none can be had, that is said."""

from __future__ import annotations

import socket
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from itertools import count
from multiprocessing import get_context
from typing import Any

import pytest

from relaykit.local import ports
from tests.support.network import ports as test_ports

SOME = 300


@pytest.mark.parametrize("free_port", [ports.free_port, test_ports.free_port])
def test_no_port_is_given_twice(free_port: Callable[[], int]) -> None:
    """Before a server listens on the first, a second one may be asked for."""
    given = [free_port() for _ in range(SOME)]
    assert len(set(given)) == SOME


def test_no_two_processes_of_the_tests_are_given_the_same() -> None:
    with ProcessPoolExecutor(3, get_context("spawn")) as processes:
        given = [port for ports in processes.map(_some, range(3)) for port in ports]
    assert len(set(given)) == 3 * SOME


def _some(_: int) -> list[int]:
    return [test_ports.free_port() for _ in range(SOME)]


def test_the_tests_and_the_product_take_theirs_from_ranges_apart() -> None:
    assert test_ports.LAST < ports.FIRST
    assert ports.FIRST <= ports.free_port() < ports.LAST
    assert test_ports.FIRST <= test_ports.free_port() <= test_ports.LAST


def test_with_one_that_follows_both_are_free(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def is_free(port: int) -> bool:
        asked.append(port)
        return len(asked) != 2

    monkeypatch.setattr(test_ports, "is_free", is_free)
    given = test_ports.free_port(following=1)
    assert asked[-2:] == [given, given + 1]
    assert len(asked) == 4


def test_where_no_port_can_be_had_the_last_refusal_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    """A firewall of the machine, or a program that has them all."""

    class Refusing(socket.socket):
        def bind(self, address: Any) -> None:
            if address[1]:
                raise PermissionError(13, "Permission denied")
            super().bind(address)

    monkeypatch.setattr("relaykit.local.ports.socket.socket", Refusing)
    with pytest.raises(PermissionError):
        ports.free_port()


def test_a_port_that_is_taken_is_no_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", ports.free_port())) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr("relaykit.local.ports._turns", count(port - ports.FIRST))
        assert ports.free_port() != port
