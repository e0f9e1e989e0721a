"""The socket that a process listens on: one on the address that the settings name, or one that it is given."""

from __future__ import annotations

import os
import socket
from typing import Final

from relaykit.shared.errors import SettingsError

FIRST_GIVEN: Final = 3
"""The descriptor of the first socket that is given, as sd_listen_fds(3) has it."""


def given_listener() -> socket.socket | None:
    """The socket that a service manager has given this process, by sd_listen_fds(3); None where it has given none.

    It outlives the process, so that no connection is refused between the end of one process and the start of the next.
    Raises SettingsError where it has given several.
    """
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return None
    if os.environ.get("LISTEN_FDS") != "1":
        raise SettingsError("LISTEN_FDS: must be 1, one socket for HTTP")
    os.set_inheritable(FIRST_GIVEN, False)  # or a process that the site's code starts would keep the port
    return socket.socket(fileno=FIRST_GIVEN)


def bind(host: str, port: int, names: str) -> socket.socket:
    """A socket that does not listen yet. Raises SettingsError, which has `names`, where the address cannot be had."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise SettingsError(f"{names}: cannot listen on this address ({error.strerror})") from error
    return listener
