"""What the kernel drops of a listening socket whose process does not accept, with real sockets."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from relaykit.api.http.accept_queue import AcceptQueueWatch

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")

BACKLOG = 2


def counted() -> float:
    return REGISTRY.get_sample_value("relaykit_accept_queue_drops_total") or 0.0


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(BACKLOG)
        yield listener


def knock(stack: ExitStack, listener: socket.socket, times: int) -> None:
    """Connections that nothing accepts."""
    for _ in range(times):
        client = stack.enter_context(socket.socket())
        client.setblocking(False)
        client.connect_ex(listener.getsockname())


def test_what_finds_the_queue_full_is_counted_and_told_once(listener: socket.socket) -> None:
    watch, before = AcceptQueueWatch([listener]), counted()
    with ExitStack() as stack, capture_logs() as lines:
        knock(stack, listener, BACKLOG)
        watch.look()
        assert (counted(), lines) == (before, [])
        knock(stack, listener, 5)
        watch.look()
        first = counted() - before
        assert first >= 3
        knock(stack, listener, 5)
        watch.look()
        assert counted() - before >= first + 5
        assert [line["action"] for line in lines] == ["accept_queue_full"]
        assert lines[0]["dropped"] == first


def test_a_queue_that_was_full_and_is_so_again_is_told_again(listener: socket.socket) -> None:
    watch = AcceptQueueWatch([listener])
    with capture_logs() as lines:
        for _ in range(2):
            with ExitStack() as stack:
                knock(stack, listener, BACKLOG + 5)
                watch.look()
            while listener_has_more(listener):
                pass
            watch.look()
            watch.look()
    assert len(lines) == 2


def listener_has_more(listener: socket.socket) -> bool:
    """Takes one of those that wait."""
    listener.setblocking(False)
    try:
        listener.accept()[0].close()
    except BlockingIOError:
        return False
    return True


def test_a_socket_that_does_not_tell_is_no_failure() -> None:
    with socket.socket() as closed:
        pass
    watch, before = AcceptQueueWatch([closed]), counted()
    watch.look()
    assert counted() == before
