"""Whether the environment asks for traces; what is made of a span of the agents SDK; the store's calls."""

from __future__ import annotations

from typing import Any

import pytest

from relaykit.shared.errors import SettingsError
from relaykit.shared.tracing.environment import asks_for_traces, captures_content
from relaykit.shared.tracing.spans import carrier_in, span, trace_id_in
from relaykit.worker.execution.telemetry.model_spans import _messages

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}


@pytest.mark.parametrize(
    ("environ", "asks"),
    [
        ({}, False),
        ({"OTEL_SERVICE_NAME": "chat", "OTEL_TRACES_SAMPLER": "sometimes"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": " "}, False),
        (ENDPOINT, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://collector/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"}, False),
        ({**ENDPOINT, "OTEL_SDK_DISABLED": "TRUE"}, False),
        ({**ENDPOINT, "OTEL_SDK_DISABLED": "false"}, True),
        (
            {
                **ENDPOINT,
                "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",  # of the metrics of a site
                "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
                "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
                "OTEL_TRACES_SAMPLER_ARG": "0.25",
            },
            True,
        ),
    ],
)
def test_when_traces_are_asked_for(environ: dict[str, str], asks: bool) -> None:
    assert asks_for_traces(environ) is asks


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://[::1"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
        ("OTEL_TRACES_EXPORTER", "console"),
        ("OTEL_TRACES_SAMPLER", "sometimes"),
        ("OTEL_TRACES_SAMPLER_ARG", "2"),
        ("OTEL_TRACES_SAMPLER_ARG", "nan"),
        ("OTEL_TRACES_SAMPLER_ARG", "half"),
    ],
)
def test_a_mistake_is_named(name: str, value: str) -> None:
    ratio = {"OTEL_TRACES_SAMPLER": "traceidratio"} if name == "OTEL_TRACES_SAMPLER_ARG" else {}
    with pytest.raises(SettingsError) as caught:
        asks_for_traces({**ENDPOINT, **ratio, name: value})
    assert caught.value.message.startswith(f"{name}: must be ")


@pytest.mark.parametrize(
    ("value", "captures"),
    [
        ("", False),
        ("false", False),
        ("true", True),
        ("NO_CONTENT", False),
        ("SPAN_ONLY", True),
        ("EVENT_ONLY", False),
    ],
)
def test_content_is_captured_where_spans_may_have_it(value: str, captures: bool) -> None:
    assert captures_content({"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": value}) is captures


def test_without_traces_every_span_is_the_same_nothing() -> None:
    assert span("a") is span("b", number=1)


@pytest.mark.parametrize(
    "context", [{}, {"trace": None}, {"trace": "x"}, {"trace": {}}, {"trace": {"traceparent": 1}}]
)
def test_a_context_without_a_trace_has_none(context: dict[str, Any]) -> None:
    assert carrier_in(context) is None


def test_the_id_of_a_trace_is_the_second_field_of_its_traceparent() -> None:
    assert trace_id_in({"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}) == "a" * 32


@pytest.mark.parametrize(
    "items",
    [
        [None],
        [1],
        [{}],
        [{"role": "user", "content": [None, 1, {"text": "x"}]}],
        [{"type": "function_call"}],
        "x",
    ],
)
def test_what_was_said_is_told_whatever_its_shape(items: Any) -> None:
    assert isinstance(_messages(items), str)
