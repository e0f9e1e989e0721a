"""The hands of an attacking process: raw sockets to one port of loopback, and a tally of all that passes."""

from __future__ import annotations

import http.client
import json
import select
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any

from tests.siege.order import Order, Tally

HOST = "127.0.0.1"
CHUNK_BYTES = 65_536
SOCKET_SECONDS = 5.0
PAUSE_SECONDS = 0.05
"""Between two of the same attack, which keeps their number bounded."""
OPEN_EVERY_SECONDS = 0.1
FIRST_EVENT_BYTES = 1024 * 1024
"""An event stream is read at most so far for the first event, which names the thread."""


@dataclass(frozen=True)
class Reply:
    """An answer, or the lack of one: status 0 then."""

    status: int = 0
    code: str = ""
    """The error's, where there is one."""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Assault:
    """One attack until its time is over. Its threads share the tally."""

    def __init__(self, order: Order) -> None:
        self.tally = Tally()
        self.random = Random(order.seed)
        self._order = order
        self._ends_at = time.monotonic() + order.seconds
        self._lock = threading.Lock()

    @property
    def over(self) -> bool:
        return time.monotonic() >= self._ends_at

    @property
    def authorization(self) -> bytes:
        return b"Authorization: Bearer %b\r\n" % self._order.token.encode()

    def seconds_left(self, share: float = 1.0) -> float:
        """Of this share of the attack's time, counted from its begin."""
        return self._ends_at - self._order.seconds * (1 - share) - time.monotonic()

    # --- in any number

    def repeat(
        self, act: Callable[[], object], times: int = 10_000, pause_seconds: float = PAUSE_SECONDS
    ) -> None:
        """Acts again and again until the time is over."""
        for _ in range(times):
            if self.over:
                return
            with suppress(OSError):
                act()
            time.sleep(pause_seconds)

    def side_by_side(self, count: int, act: Callable[[int], object]) -> None:
        """Each call in a thread of its own; returns when all have."""
        threads = [threading.Thread(target=act, args=(number,), daemon=True) for number in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def sleep_to_the_end(self) -> None:
        time.sleep(max(0.0, self.seconds_left()))

    # --- bytes

    def connect(self, receive_bytes: int | None = None) -> socket.socket:
        """Raises OSError; a refusal is noted."""
        connection = socket.socket()
        if receive_bytes is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        connection.settimeout(SOCKET_SECONDS)
        try:
            connection.connect((HOST, self._order.port))
        except OSError as error:
            connection.close()
            self.note(type(error).__name__)
            raise
        with self._lock:
            self.tally.connections += 1
        return connection

    def push(self, connection: socket.socket, data: bytes) -> bool:
        """Sends until the server answers or closes; whether everything was sent."""
        for begin in range(0, len(data), CHUNK_BYTES):
            if self.over or select.select([connection], [], [], 0)[0]:
                return False
            part = data[begin : begin + CHUNK_BYTES]
            try:
                connection.sendall(part)
            except OSError:
                return False
            self.count_bytes(len(part))
        return True

    def answer(self, connection: socket.socket, seconds: float = SOCKET_SECONDS) -> Reply:
        """The next answer, whole; of an event stream no more than the first event. It is noted."""
        reply, kind = self.receive(connection, seconds)
        self.note(kind)
        return reply

    def receive(self, connection: socket.socket, seconds: float = SOCKET_SECONDS) -> tuple[Reply, str]:
        """The next answer, and what a note calls it."""
        connection.settimeout(max(0.05, seconds))
        response = http.client.HTTPResponse(connection)
        try:
            response.begin()
            reply = self._read(response)
        except TimeoutError:
            return Reply(), "no answer"
        except http.client.HTTPException:
            return Reply(), "closed"
        except OSError:
            return Reply(), "reset"
        return reply, f"{reply.status} {reply.code}".strip()

    def note(self, kind: str, count: int = 1) -> None:
        with self._lock:
            self.tally.answers[kind] += count

    def count_bytes(self, count: int) -> None:
        with self._lock:
            self.tally.sent_bytes += count

    def count_requests(self, count: int = 1) -> None:
        with self._lock:
            self.tally.requests += count

    def _read(self, response: http.client.HTTPResponse) -> Reply:
        headers = {name.lower(): value for name, value in response.headers.items()}
        if headers.get("content-type", "").startswith("text/event-stream"):
            body = b""
            while b"\ndata: " not in body and len(body) < FIRST_EVENT_BYTES and (part := response.readline()):
                body += part
            return Reply(response.status, "", headers, body)
        body = response.read()
        return Reply(response.status, error_code(body), headers, body)

    # --- requests

    def head(self, method: str, target: str, length: int | None = None, *, signed_in: bool = True) -> bytes:
        lines = b"%b %b HTTP/1.1\r\nHost: a\r\n" % (method.encode(), target.encode())
        if signed_in:
            lines += self.authorization
        if length is not None:
            lines += b"Content-Length: %d\r\n" % length
        return lines + b"\r\n"

    def ask(self, method: str, target: str, body: bytes = b"", *, signed_in: bool = True) -> Reply:
        """One request over a connection of its own, and its answer. Raises OSError where it cannot connect."""
        with self.connect() as connection:
            self.count_requests()
            length = len(body) if method != "GET" else None
            self.push(connection, self.head(method, target, length, signed_in=signed_in) + body)
            return self.answer(connection)

    def chatkit(self, body: dict[str, Any] | bytes) -> Reply:
        return self.ask("POST", "/chatkit", body if isinstance(body, bytes) else json.dumps(body).encode())

    def cancelled(self, body: dict[str, Any]) -> Reply:
        """A message whose run is cancelled at once."""
        reply = self.chatkit(body)
        if run_id := reply.headers.get("x-run-id"):
            self.ask("POST", f"/runs/{run_id}/cancel")
        return reply

    # --- connections that stay

    def hold(self, count: int, at_once: int, opening: Callable[[int], bytes]) -> None:
        """So many connections, each with its opening bytes and nothing after them; others for those that end.

        At most `at_once` are opened in a tenth of a second.
        """
        held: dict[int, socket.socket] = {}
        poll = select.poll()
        number, opened_at = 0, 0.0
        while not self.over:
            room = min(at_once, count - len(held))
            if time.monotonic() < opened_at + OPEN_EVERY_SECONDS:
                room = 0
            elif room:
                opened_at = time.monotonic()
            for _ in range(room):
                if self.over:
                    break
                with suppress(OSError):
                    connection = self.connect()
                    self.push(connection, opening(number))
                    held[connection.fileno()] = connection
                    poll.register(connection, select.POLLIN)
                number += 1
            for descriptor, _ in poll.poll(100):
                poll.unregister(descriptor)
                with held.pop(descriptor) as connection:
                    self.answer(connection, 0.2)
        self.note("still open", len(held))
        for connection in held.values():
            connection.close()


def error_code(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"]["code"])
    except (ValueError, LookupError, TypeError):
        return ""


def thread_of(reply: Reply) -> str:
    """The id of the thread that an event stream begins with; empty where there is none."""
    _, _, data = reply.body.partition(b"\ndata: ")
    try:
        return str(json.loads(data)["thread"]["id"])
    except (ValueError, LookupError, TypeError):
        return ""
