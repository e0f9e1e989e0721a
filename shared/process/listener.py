"""A socket on the address that the settings name."""

from __future__ import annotations

import socket

from relaykit.shared.errors import SettingsError


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
