"""What ends local mode."""

from __future__ import annotations


class LocalModeError(Exception):
    """Local mode cannot start or go on; the text is for the person who started it."""


class BadSetting(LocalModeError):
    """A setting is wrong."""


class ServiceMissing(LocalModeError):
    """A service is neither given nor installed."""

    def __init__(self, name: str, variable: str) -> None:
        super().__init__(
            f"There is no {name}: set {variable}, or install the one for local mode "
            "(pip install 'relaykit[local]'; in a checkout: make setup)."
        )


class Stopped(Exception):
    """A stop was asked for while a service was starting."""
