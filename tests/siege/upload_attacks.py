"""Attacks with attachments: one that is named a hundred times, many that are only announced, one link used at once."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from tests.siege.assault import Assault, thread_of
from tests.siege.request_attacks import create, message

ATTACHMENT_BYTES = 20 * 1024 * 1024
TEXT = "text/plain"
MENTIONS = 100
MESSAGES = 3
ANNOUNCED = 300
ANNOUNCED_AT_ONCE = 4
PUTS = 10
HELD_BACK_BYTES = 1024


def _announced(assault: Assault) -> dict[str, Any]:
    """A new attachment without its bytes; empty where it is refused."""
    params = {"name": "a.txt", "size": ATTACHMENT_BYTES, "mime_type": TEXT}
    reply = assault.chatkit({"type": "attachments.create", "params": params})
    return dict(reply.json) if reply.status == 200 else {}


def _put_head(assault: Assault, attachment: dict[str, Any]) -> bytes:
    link = urlsplit(attachment["upload_descriptor"]["url"])
    return assault.head("PUT", f"{link.path}?{link.query}", ATTACHMENT_BYTES, signed_in=False)


def mentions(assault: Assault) -> None:
    """One attachment of 20 MB, named a hundred times in each of three messages."""
    attachment = _announced(assault)
    if not attachment:
        return
    with assault.connect() as connection:
        assault.count_requests()
        assault.push(connection, _put_head(assault, attachment) + b"x" * ATTACHMENT_BYTES)
        assault.answer(connection)
    thread_id = thread_of(assault.cancelled(create("a thread")))
    named = message(thread_id, "read this", attachments=[attachment["id"]] * MENTIONS)
    assault.repeat(lambda: assault.chatkit(named), MESSAGES)
    assault.sleep_to_the_end()


def announced(assault: Assault) -> None:
    """Hundreds of attachments of 20 MB whose bytes never come, announced four at once."""
    each = ANNOUNCED // ANNOUNCED_AT_ONCE
    assault.side_by_side(ANNOUNCED_AT_ONCE, lambda _: assault.repeat(lambda: _announced(assault), each))


def puts(assault: Assault) -> None:
    """One upload link, ten PUTs at once, none of which ends."""
    attachment = _announced(assault)
    if not attachment:
        return
    opening = _put_head(assault, attachment) + b"x" * (ATTACHMENT_BYTES - HELD_BACK_BYTES)

    def put(_: int) -> None:
        with assault.connect() as connection:
            assault.count_requests()
            assault.push(connection, opening)
            assault.answer(connection, assault.seconds_left())

    assault.side_by_side(PUTS, put)
