"""The traces of a process, from its start to its end."""

from __future__ import annotations

import os
from importlib.util import find_spec

from relaykit.shared.errors import SettingsError
from relaykit.shared.tracing.environment import asks_for_traces
from relaykit.shared.tracing.spans import tracing, use

PARTS = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http")


def check_tracing() -> None:
    """Imports what traces need, where OTEL_* asks for them; starts no thread. Raises SettingsError."""
    if not asks_for_traces(os.environ):
        return
    try:
        missing = [part for part in PARTS if find_spec(part) is None]
    except ModuleNotFoundError:
        missing = list(PARTS)
    if missing:
        raise SettingsError(
            "OTEL_EXPORTER_OTLP_ENDPOINT: traces need OpenTelemetry's SDK and exporter: pip install 'relaykit[otel]'"
        )
    import relaykit.shared.tracing.otel  # noqa: F401


def start_tracing(service: str) -> None:
    """Begins to make traces where OTEL_* asks for them, under this name where OTEL_* gives none.

    Starts a thread: not before a fork, and anew in each process. Raises SettingsError.
    """
    check_tracing()
    if not asks_for_traces(os.environ):
        return
    from relaykit.shared.tracing.otel import Otel

    try:
        use(Otel(service))
    except (ValueError, OSError) as error:
        raise SettingsError(f"OTEL_*: the SDK does not take a value ({type(error).__qualname__})") from error


def end_tracing() -> None:
    """Sends the last spans, within a bound; afterwards none are made."""
    otel = tracing()
    if otel is not None:
        use(None)
        otel.close()
