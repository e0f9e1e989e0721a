"""Attacks on what comes before a route: heads, trailers, silence, pipelines. Most of them need no token."""

from __future__ import annotations

import re
import socket
import threading
from contextlib import suppress
from functools import partial

from tests.siege.assault import Assault

HEAD = b"GET /healthz HTTP/1.1\r\nHost: a\r\n"
SMALL_LINES = b"a: b\r\n" * 10_923
LONG = b"x" * 65_536
LIST = b'{"type":"threads.list","params":{}}'
LINES_CHUNKS = 384
"""25 MB of header lines."""
VALUE_CHUNKS = 800
"""50 MB in one header, which costs as much CPU as its length squared."""
SILENT_CONNECTIONS = 400
EXHAUSTING_CONNECTIONS = 400
OPENED_AT_ONCE = 40
PIPELINES = 12
PIPELINED = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
PIPELINE_BYTES = 300_000
UNREAD_BUFFER_BYTES = 8192
STATUS = re.compile(rb"HTTP/1\.1 (\d\d\d)")
STATUS_BYTES = len(b"HTTP/1.1 200")
ANSWER_SECONDS = 0.5


def _pour(assault: Assault, opening: bytes, chunk: bytes, chunks: int) -> None:
    """One request whose head does not end."""
    with assault.connect() as connection:
        assault.count_requests()
        if assault.push(connection, opening):
            for _ in range(chunks):
                if not assault.push(connection, chunk):
                    break
        assault.answer(connection, ANSWER_SECONDS)


def head_lines(assault: Assault) -> None:
    """25 MB of `a: b`."""
    assault.repeat(partial(_pour, assault, HEAD, SMALL_LINES, LINES_CHUNKS))


def head_value(assault: Assault) -> None:
    """One header of 50 MB."""
    assault.repeat(partial(_pour, assault, HEAD + b"x: ", LONG, VALUE_CHUNKS))


def head_url(assault: Assault) -> None:
    """A URL of 25 MB."""
    assault.repeat(partial(_pour, assault, b"GET /", LONG, LINES_CHUNKS))


def trailers(assault: Assault) -> None:
    """25 MB of trailers after a whole body."""
    opening = _chunked(LIST, assault.authorization) + b"0\r\n"
    assault.repeat(partial(_pour, assault, opening, SMALL_LINES, LINES_CHUNKS))


def trailer_token(assault: Assault) -> None:
    """A request without Authorization, which comes as a trailer."""

    def ask() -> None:
        with assault.connect() as connection:
            assault.count_requests()
            assault.push(connection, _chunked(LIST) + b"0\r\n" + assault.authorization + b"\r\n")
            assault.answer(connection)

    assault.repeat(ask)


def silent(assault: Assault) -> None:
    """Hundreds of connections: every second one says nothing, the others half a header line."""
    assault.hold(SILENT_CONNECTIONS, OPENED_AT_ONCE, lambda number: HEAD + b"x: ha" if number % 2 else b"")


def descriptors(assault: Assault) -> None:
    """More silent connections than the API may have descriptors."""
    assault.hold(
        EXHAUSTING_CONNECTIONS, OPENED_AT_ONCE, lambda number: HEAD + b"x: ha" if number % 2 else b""
    )


def pipelining(assault: Assault) -> None:
    """Twelve connections, each with thousands of requests at once. Half of them read no answer."""
    requests = PIPELINED * (PIPELINE_BYTES // len(PIPELINED))

    def use(number: int) -> None:
        if number % 2:
            _pipeline(assault, requests)
        else:
            with suppress(OSError), assault.connect(UNREAD_BUFFER_BYTES) as connection:
                _send(assault, connection, requests)
                assault.sleep_to_the_end()

    assault.side_by_side(PIPELINES, use)


def _pipeline(assault: Assault, requests: bytes) -> None:
    with suppress(OSError), assault.connect() as connection:
        sending = threading.Thread(target=_send, args=(assault, connection, requests), daemon=True)
        sending.start()
        rest = b""
        while not assault.over and (part := connection.recv(65_536)):
            rest += part
            for status in STATUS.finditer(rest):
                assault.note(status[1].decode())
            rest = rest[-STATUS_BYTES + 1 :]
        sending.join()


def _send(assault: Assault, connection: socket.socket, requests: bytes) -> None:
    """Whatever is answered meanwhile."""
    assault.count_requests(len(requests) // len(PIPELINED))
    with suppress(OSError):
        connection.settimeout(max(0.1, assault.seconds_left()))
        connection.sendall(requests)
        assault.count_bytes(len(requests))


def _chunked(body: bytes, authorization: bytes = b"") -> bytes:
    head = b"POST /chatkit HTTP/1.1\r\nHost: a\r\n%bTransfer-Encoding: chunked\r\n\r\n" % authorization
    return head + b"%x\r\n%b\r\n" % (len(body), body)
