"""Whether the environment asks for traces, and what is wrong with how it does. Imports nothing of OpenTelemetry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from relaykit.shared.errors import SettingsError

ENDPOINT: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
TRACES_ENDPOINT: Final = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
SAMPLERS: Final = frozenset(
    {
        "always_on",
        "always_off",
        "traceidratio",
        "parentbased_always_on",
        "parentbased_always_off",
        "parentbased_traceidratio",
    }
)
CAPTURES: Final = frozenset({"true", "1", "span_only", "span_and_event"})
"""Values of OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT with which spans have what was said."""


def asks_for_traces(environ: Mapping[str, str]) -> bool:
    """Whether spans are to be sent. Raises SettingsError for a value that could only be a mistake."""
    if _value(environ, "OTEL_SDK_DISABLED") == "true":
        return False
    exporter = _value(environ, "OTEL_TRACES_EXPORTER")
    if exporter not in ("", "otlp", "none"):
        raise SettingsError("OTEL_TRACES_EXPORTER: must be otlp or none")
    if exporter == "none" or not (
        exporter or any(_value(environ, name) for name in (TRACES_ENDPOINT, ENDPOINT))
    ):
        return False
    _check(environ)
    return True


def captures_content(environ: Mapping[str, str]) -> bool:
    """Whether spans may have the text of messages and the arguments of tools."""
    return _value(environ, "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT") in CAPTURES


def _check(environ: Mapping[str, str]) -> None:
    """The SDK takes a default in the place of what it does not know, and writes a warning that is easily missed."""
    for name in (TRACES_ENDPOINT, ENDPOINT):
        url = environ.get(name, "").strip()
        if url and not _is_http(url):
            raise SettingsError(f"{name}: must be an http:// or https:// URL")
    for name in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        if protocol := _value(environ, name):
            if protocol != "http/protobuf":
                raise SettingsError(f"{name}: must be http/protobuf, the only protocol that is spoken")
            break  # the one of traces stands
    sampler = _value(environ, "OTEL_TRACES_SAMPLER")
    if sampler and sampler not in SAMPLERS:
        raise SettingsError(f"OTEL_TRACES_SAMPLER: must be one of {', '.join(sorted(SAMPLERS))}")
    argument = environ.get("OTEL_TRACES_SAMPLER_ARG", "").strip()
    if sampler.endswith("traceidratio") and argument and not _is_ratio(argument):
        raise SettingsError("OTEL_TRACES_SAMPLER_ARG: must be a number from 0 to 1")


def _value(environ: Mapping[str, str], name: str) -> str:
    return environ.get(name, "").strip().lower()


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _is_ratio(text: str) -> bool:
    try:
        return 0 <= float(text) <= 1
    except ValueError:
        return False
