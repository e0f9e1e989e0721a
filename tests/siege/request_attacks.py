"""Attacks of a caller who is signed in: bodies that are wrong, slow or large, answers that nobody takes, floods."""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from typing import Any

from tests.chaos.script import Script
from tests.siege.assault import Assault, thread_of
from tests.siege.connection_attacks import UNREAD_BUFFER_BYTES

BODY_BYTES = 1_046_000
"""A little less than MAX_BODY_BYTES."""
REFUSED_AT_ONCE = 4
PARTS = 26_000
FALLBACK_PARTS = 90
FALLBACK_TEXT_BYTES = 240_000
"""What a message may weigh where a megabyte is too much for it."""
TITLE_CHARS = 1_000_000
MAX_TITLES = 10
MAX_MESSAGES = 50
LEAST_MESSAGES = 4
LISTS_AT_ONCE = 6
FILL_SHARE = 0.5
"""Of the attack's time for the messages, before the lists begin."""
UNREAD = 12
PAGES_OF_EACH = 24
"""Together more than what the buffers of two sockets take."""
KERNELS_BYTES = 8_000_000
LOOK_SECONDS = 1.0
SLOW_BODIES = 90
SLOW_BODIES_OPENED_AT_ONCE = 10
"""What holds the server is the number of bodies, not the bandwidth of loopback."""
SLOW_BODY_BYTES = 1_000_000
SMALL_BODY_BYTES = 4_000
MAX_CANCELLED = 200
CANCELLED_AT_ONCE = 4
FLOOD_RUNS = 60
FLOOD_AT_ONCE = 40
FLOOD_RUN_SECONDS = 2


def _input(*parts: str, attachments: list[str] | None = None) -> dict[str, Any]:
    return {
        "content": [{"type": "input_text", "text": text} for text in parts],
        "attachments": attachments or [],
        "inference_options": {},
    }


def create(*parts: str) -> dict[str, Any]:
    return {"type": "threads.create", "params": {"input": _input(*parts)}}


def message(thread_id: str, *parts: str, attachments: list[str] | None = None) -> dict[str, Any]:
    params = {"thread_id": thread_id, "input": _input(*parts, attachments=attachments)}
    return {"type": "threads.add_user_message", "params": params}


# --- what is refused


def refused_bodies() -> list[bytes]:
    """A megabyte each, with as many wrong elements as fit."""

    def filled(before: str, element: str, after: str) -> bytes:
        count = (BODY_BYTES - len(before) - len(after)) // (len(element) + 1)
        return (before + ",".join([element] * count) + after).encode()

    content = '{"type":"threads.create","params":{"input":{"content":['
    rest = '],"attachments":[],"inference_options":{}}}}'
    attachments = (
        '{"type":"threads.create","params":{"input":{"content":[],"inference_options":{},"attachments":['
    )
    feedback = '{"type":"items.feedback","params":{"thread_id":"thr_x","kind":"positive","item_ids":['
    answers = (
        '{"type":"threads.add_structured_input","params":{"thread_id":"thr_x","item_id":"msg_x",'
        '"input":{"answers":{"a":{"values":['
    )
    return [
        filled(content, "1", rest),
        filled(content, "{}", rest),
        filled(content, "[]", rest),
        filled(attachments, "1", "]}}}"),
        filled(feedback, "1", "]}}"),
        filled(answers, "1", "]}}}}}"),
    ]


def refused(assault: Assault) -> None:
    """Bodies of a megabyte that are refused, four at once and one after the other."""
    bodies = refused_bodies()

    def send(number: int) -> None:
        turn = iter(range(number, 1_000_000))
        assault.repeat(lambda: assault.chatkit(bodies[next(turn) % len(bodies)]))

    assault.side_by_side(REFUSED_AT_ONCE, send)


def slow_bodies(assault: Assault) -> None:
    """Ninety requests whose bodies stop half-way: every second one is small and stops early, the others are large."""
    small = assault.head("POST", "/chatkit", SMALL_BODY_BYTES) + b" " * 100
    large = assault.head("POST", "/chatkit", SLOW_BODY_BYTES) + b" " * (SLOW_BODY_BYTES - 10_000)
    assault.hold(SLOW_BODIES, SLOW_BODIES_OPENED_AT_ONCE, lambda number: large if number % 2 else small)


# --- what is heavy


def _fill(assault: Assault, seconds: float) -> str:
    """A thread of messages as heavy as the API takes them, each run cancelled at once."""
    ends_at = time.monotonic() + seconds
    thread_id = thread_of(assault.cancelled(create("a thread")))
    kinds = [["real", *[""] * PARTS], ["x" * BODY_BYTES]]
    heavy = [kind for kind in kinds if assault.cancelled(message(thread_id, *kind)).status == 200]
    heavy = heavy or [["x" * (FALLBACK_TEXT_BYTES // FALLBACK_PARTS)] * FALLBACK_PARTS]
    for number in range(MAX_MESSAGES):
        if assault.over or (number >= LEAST_MESSAGES and time.monotonic() > ends_at):
            break
        with suppress(OSError):
            if assault.cancelled(message(thread_id, *heavy[number % len(heavy)])).status == 429:
                break
    return thread_id


def _titles(assault: Assault) -> None:
    """Threads with titles of a megabyte, as long as the API takes them."""
    for _ in range(MAX_TITLES):
        thread_id = thread_of(assault.cancelled(create("a thread")))
        params = {"thread_id": thread_id, "title": "t" * TITLE_CHARS}
        if assault.chatkit({"type": "threads.update", "params": params}).status != 200:
            return


def pages(assault: Assault) -> None:
    """Heavy messages and titles, then a "hello" in that thread and lists of a hundred, six at once.

    No more than six: an answer takes seconds, and a thread has one at a time.
    """
    _titles(assault)
    thread_id = _fill(assault, assault.seconds_left(FILL_SHARE))
    lists = [
        {"type": "items.list", "params": {"thread_id": thread_id, "limit": 100}},
        {"type": "threads.list", "params": {"limit": 100}},
        {"type": "threads.get_by_id", "params": {"thread_id": thread_id}},
    ]

    def ask(number: int) -> None:
        assault.chatkit(message(thread_id, f"hello {number}"))
        turn = iter(range(number, 1_000_000))
        assault.repeat(lambda: assault.chatkit(lists[next(turn) % len(lists)]))

    assault.side_by_side(LISTS_AT_ONCE, ask)


def unread(assault: Assault) -> None:
    """Twelve readers of nothing of large pages. In the end each looks whether the server still holds its answers."""
    thread_id = _fill(assault, assault.seconds_left(FILL_SHARE / 2))
    body = b'{"type":"items.list","params":{"limit":100,"thread_id":"%b"}}' % thread_id.encode()

    requests = (assault.head("POST", "/chatkit", len(body)) + body) * PAGES_OF_EACH

    def wait(_: int) -> None:
        with assault.connect(UNREAD_BUFFER_BYTES) as connection:
            assault.count_requests(PAGES_OF_EACH)
            assault.push(connection, requests)
            assault.sleep_to_the_end()
            assault.note("pages cut short" if _ends(connection) else "pages held")

    assault.side_by_side(UNREAD, wait)


def _ends(connection: socket.socket) -> bool:
    """Whether the server has given the connection up: nothing follows what the kernels still hold of its answers."""
    connection.settimeout(LOOK_SECONDS)
    left_bytes = KERNELS_BYTES
    with suppress(TimeoutError):
        try:
            while left_bytes > 0 and (part := connection.recv(65_536)):
                left_bytes -= len(part)
        except ConnectionError:
            return True
        return left_bytes > 0
    return False


def cancelled(assault: Assault) -> None:
    """Messages of the maximal size, each cancelled at once, four at once."""
    size = BODY_BYTES

    def send() -> None:
        nonlocal size
        if assault.cancelled(create("x" * size)).status == 422:
            size = FALLBACK_TEXT_BYTES

    each = MAX_CANCELLED // CANCELLED_AT_ONCE
    assault.side_by_side(CANCELLED_AT_ONCE, lambda _: assault.repeat(send, each, pause_seconds=0))


# --- what is much


def flood(assault: Assault) -> None:
    """Runs of two seconds of one caller, as many at once as it may have."""

    def send(number: int) -> None:
        for turn in range(FLOOD_RUNS // FLOOD_AT_ONCE + 1):
            script = Script(tag=f"flood.{number}.{turn}", items=1, words=2, pause_ms=FLOOD_RUN_SECONDS * 500)
            if assault.over:
                return
            with suppress(OSError):
                assault.chatkit(create(str(script)))

    assault.side_by_side(FLOOD_AT_ONCE, send)
