"""The events of one streamed response, as the Responses API sends them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from agents.items import TResponseStreamEvent
from openai.types.responses import (
    Response,
    ResponseCompletedEvent,
    ResponseContentPartAddedEvent,
    ResponseContentPartDoneEvent,
    ResponseCreatedEvent,
    ResponseFunctionCallArgumentsDeltaEvent,
    ResponseFunctionCallArgumentsDoneEvent,
    ResponseFunctionToolCall,
    ResponseOutputItemAddedEvent,
    ResponseOutputItemDoneEvent,
    ResponseOutputMessage,
    ResponseOutputText,
    ResponseTextDeltaEvent,
    ResponseTextDoneEvent,
    ResponseUsage,
)
from openai.types.responses.response_usage import InputTokensDetails, OutputTokensDetails

NO_USAGE = ResponseUsage(
    input_tokens=0,
    output_tokens=0,
    total_tokens=0,
    input_tokens_details=InputTokensDetails(cached_tokens=0, cache_write_tokens=0),
    output_tokens_details=OutputTokensDetails(reasoning_tokens=0),
)


def message(item_id: str, text: str) -> ResponseOutputMessage:
    return ResponseOutputMessage(
        id=item_id, type="message", role="assistant", status="completed", content=[_text(text)]
    )


def message_events(item_id: str, deltas: Sequence[str]) -> Iterator[TResponseStreamEvent]:
    """A whole response with one message, one event for each delta."""
    done = message(item_id, "".join(deltas))
    opened = done.model_copy(update={"content": [], "status": "in_progress"})
    yield ResponseCreatedEvent(
        type="response.created", response=_response([], "in_progress"), sequence_number=0
    )
    yield ResponseOutputItemAddedEvent(
        type="response.output_item.added", item=opened, output_index=0, sequence_number=1
    )
    yield ResponseContentPartAddedEvent(
        type="response.content_part.added",
        item_id=item_id,
        output_index=0,
        content_index=0,
        part=_text(""),
        sequence_number=2,
    )
    number = 2
    for number, delta in enumerate(deltas, start=3):
        yield ResponseTextDeltaEvent(
            type="response.output_text.delta",
            item_id=item_id,
            output_index=0,
            content_index=0,
            delta=delta,
            logprobs=[],
            sequence_number=number,
        )
    yield from _message_end(done, number + 1)


def _message_end(done: ResponseOutputMessage, number: int) -> Iterator[TResponseStreamEvent]:
    part = done.content[0]
    assert isinstance(part, ResponseOutputText)
    yield ResponseTextDoneEvent(
        type="response.output_text.done",
        item_id=done.id,
        output_index=0,
        content_index=0,
        text=part.text,
        logprobs=[],
        sequence_number=number,
    )
    yield ResponseContentPartDoneEvent(
        type="response.content_part.done",
        item_id=done.id,
        output_index=0,
        content_index=0,
        part=part,
        sequence_number=number + 1,
    )
    yield from _end(done, number + 2)


def call_events(call: ResponseFunctionToolCall) -> Iterator[TResponseStreamEvent]:
    """A whole response with one call of a function."""
    assert call.id is not None
    opened = call.model_copy(update={"arguments": "", "status": "in_progress"})
    yield ResponseCreatedEvent(
        type="response.created", response=_response([], "in_progress"), sequence_number=0
    )
    yield ResponseOutputItemAddedEvent(
        type="response.output_item.added", item=opened, output_index=0, sequence_number=1
    )
    yield ResponseFunctionCallArgumentsDeltaEvent(
        type="response.function_call_arguments.delta",
        item_id=call.id,
        output_index=0,
        delta=call.arguments,
        sequence_number=2,
    )
    yield ResponseFunctionCallArgumentsDoneEvent(
        type="response.function_call_arguments.done",
        item_id=call.id,
        output_index=0,
        arguments=call.arguments,
        sequence_number=3,
    )
    yield from _end(call, 4)


def _end(
    item: ResponseOutputMessage | ResponseFunctionToolCall, number: int
) -> Iterator[TResponseStreamEvent]:
    yield ResponseOutputItemDoneEvent(
        type="response.output_item.done", item=item, output_index=0, sequence_number=number
    )
    yield ResponseCompletedEvent(
        type="response.completed", response=_response([item], "completed"), sequence_number=number + 1
    )


def _text(text: str) -> ResponseOutputText:
    return ResponseOutputText(type="output_text", text=text, annotations=[], logprobs=[])


def _response(output: Sequence[object], status: str) -> Response:
    return Response.model_validate(
        {
            "id": "resp_scripted",
            "created_at": 0,
            "model": "scripted",
            "object": "response",
            "output": list(output),
            "parallel_tool_calls": False,
            "tool_choice": "auto",
            "tools": [],
            "status": status,
            "usage": NO_USAGE if status == "completed" else None,
        }
    )
