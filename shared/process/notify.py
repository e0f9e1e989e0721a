"""sd_notify(3): tells a service manager, which is systemd or local mode, what its process is about."""

from __future__ import annotations

import os
import socket
from typing import Final

import structlog

from relaykit.shared.log import failure

READY: Final = "READY=1"
STOPPING: Final = "STOPPING=1"
SEND_SECONDS: Final = 1.0

log = structlog.get_logger()


def notify(state: str) -> None:
    """Sends the state to the socket that NOTIFY_SOCKET names; where it names none, nothing is sent."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):  # in Linux' abstract namespace
        address = f"\0{address[1:]}"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.settimeout(SEND_SECONDS)
            sender.sendto(f"{state}\nMAINPID={os.getpid()}".encode(), address)
    except OSError as error:
        log.warning(
            "the service manager cannot be told the state: the process goes on",
            action="notify_failed",
            **failure(error),
        )
