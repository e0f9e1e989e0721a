"""A ChatKit request from a body: parsed once, by an adapter that is kept."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, get_args

from chatkit.types import (
    ChatKitReq,
    InputTranscribeReq,
    NonStreamingReq,
    StreamingReq,
    ThreadListParams,
    ThreadsAddClientToolOutputReq,
    ThreadsAddUserMessageReq,
    ThreadsCreateReq,
    ThreadsCustomActionReq,
    ThreadsListReq,
    ThreadsSyncCustomActionReq,
    UserMessageInput,
    UserMessageTextContent,
)
from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

from relaykit.api.admission.json_shape import check_shape
from relaykit.api.admission.written_sizes import check_sizes
from relaykit.shared.errors import (
    EmptyMessage,
    InvalidJson,
    InvalidRequest,
    MessageTooLarge,
    TooManyAttachments,
    UnknownRequestType,
)
from relaykit.shared.settings import Settings
from relaykit.shared.text import well_formed_escapes

# ChatKitServer.process() builds this adapter anew for each request, at 2.3 ms each
_ADAPTER: TypeAdapter[ChatKitReq] = TypeAdapter(ChatKitReq)
_TYPES = frozenset(
    model.model_fields["type"].default
    for union in (StreamingReq, NonStreamingReq)
    for model in get_args(union)
)
_IDS = frozenset({"thread_id", "item_id", "attachment_id", "after"})
_ID_LISTS = frozenset({"item_ids", "attachments"})
MAX_PAGE = 100
MAX_IDS = 100
"""Of one request: each of them is looked up."""
MAX_ANSWERS = 100
"""To one structured input, and values of one answer."""


class ListByUseParams(ThreadListParams):
    """The parameters of a list by last use; where that cannot be given, those of the SDK are read in them."""


@dataclass(frozen=True, slots=True)
class ParsedRequest:
    request: ChatKitReq
    metadata: dict[str, Any]
    """The request's own metadata joined with that of `params.input`, which wins.

    The SDK parses the first and ignores it, and drops the second: both are taken from the body before that.
    """
    call_id: str | None = None
    """The client tool call that an output is for, its `params.item_id`: ours, the SDK knows no such field."""


def parse(body: bytes, settings: Settings) -> ParsedRequest:
    """Raises InvalidJson, UnknownRequestType, InvalidRequest, EmptyMessage, TooManyAttachments or a size's error.

    None quotes the body. What is bounded in number is counted before the SDK's models are built, which would make an
    error of each entry: 523,000 of them in a body of 1 MB took a second and 300 MB.
    """
    raw = _json(body)
    if not isinstance(raw, dict):
        raise InvalidJson("The body is not a JSON object.")
    if not isinstance(raw.get("type"), str) or raw["type"] not in _TYPES:
        raise UnknownRequestType
    check_shape(raw)
    _check_lists(raw.get("params"), settings)
    try:
        request = _ADAPTER.validate_python(raw)
    except ValidationError as error:
        raise InvalidRequest(locations=_locations(error)) from None
    params = raw["params"]
    _check_ids(params)
    _check_limit(getattr(request.params, "limit", None))
    given = params.get("input")
    _check_content(request, given)
    inner = given.get("metadata") if isinstance(given, dict) else None
    if inner is not None and not isinstance(inner, dict):
        raise InvalidRequest(locations=["params.input.metadata: not an object"])
    if (
        isinstance(request, ThreadsListReq)
        and params.get("order_by") == "activity"
        and request.params.order == "desc"
    ):
        request.params = ListByUseParams(**request.params.model_dump())
    metadata = {**request.metadata, **(inner or {})}
    check_sizes(request, metadata, settings)
    return ParsedRequest(request, metadata, _call_id(request, params))


def _json(body: bytes) -> Any:
    r"""The body's value. The parser refuses lone halves of a character, as `\ud83d` is; JSON's grammar has them."""
    try:
        return from_json(body, allow_inf_nan=False)
    except ValueError:
        mended = well_formed_escapes(body)
    if mended == body:
        raise InvalidJson
    try:
        return from_json(mended, allow_inf_nan=False)
    except ValueError:
        raise InvalidJson from None


def _check_lists(params: Any, settings: Settings) -> None:
    """The lists that the protocol knows, each of whose entries the SDK validates."""
    given = params if isinstance(params, dict) else {}
    message = given.get("input")
    message = message if isinstance(message, dict) else {}
    if _length(message.get("content")) > settings.message_max_parts:
        raise MessageTooLarge
    if _length(message.get("attachments")) > settings.message_max_attachments:
        raise TooManyAttachments
    answers = message.get("answers")
    for name, value, most in (
        ("item_ids", given.get("item_ids"), MAX_IDS),
        ("input.answers", answers, MAX_ANSWERS),
        *(
            ("input.answers.values", answer.get("values"), MAX_ANSWERS)
            for answer in (answers.values() if isinstance(answers, dict) else ())
            if isinstance(answer, dict)
        ),
    ):
        if _length(value) > most:
            raise InvalidRequest(locations=[f"params.{name}: more than {most}"])


def _length(value: Any) -> int:
    return len(value) if isinstance(value, (list, dict)) else 0


def _check_content(request: ChatKitReq, given: Any) -> None:
    match request:
        case ThreadsCreateReq() | ThreadsAddUserMessageReq():
            if _is_empty(request.params.input):
                raise EmptyMessage
            attachments = request.params.input.attachments
            if len(set(attachments)) < len(attachments):
                raise InvalidRequest(locations=["params.input.attachments: an id twice"])
            if isinstance(given, dict):
                _check_ids(given)
        case InputTranscribeReq():
            try:
                base64.b64decode(request.params.audio_base64, validate=True)
            except (binascii.Error, ValueError):
                raise InvalidRequest(locations=["params.audio_base64: not base64"]) from None
        case ThreadsCustomActionReq() | ThreadsSyncCustomActionReq():
            # absent, it is the default of the SDK's model: a type variable, which no server can use
            if not isinstance(request.params.action.type, str):
                raise InvalidRequest(locations=["params.action.type: missing"])
        case _:
            pass


def _call_id(request: ChatKitReq, params: dict[str, Any]) -> str | None:
    call_id = params.get("item_id") if isinstance(request, ThreadsAddClientToolOutputReq) else None
    if call_id is not None and not isinstance(call_id, str):
        raise InvalidRequest(locations=["params.item_id: not an id"])
    return call_id


def _is_empty(message: UserMessageInput) -> bool:
    return not message.attachments and all(
        isinstance(part, UserMessageTextContent) and not part.text.strip() for part in message.content
    )


def _check_ids(params: dict[str, Any]) -> None:
    for name, value in _given_ids(params):
        if not value or len(value) > 512 or "\x00" in value:
            raise InvalidRequest(locations=[f"params.{name}: not an id"])


def _given_ids(params: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in params.items():
        if name in _IDS and isinstance(value, str):
            yield name, value
        elif name in _ID_LISTS and isinstance(value, list):
            yield from ((name, entry) for entry in value if isinstance(entry, str))


def _check_limit(limit: int | None) -> None:
    if limit is not None and not 0 <= limit <= MAX_PAGE:
        raise InvalidRequest(locations=[f"params.limit: not within 1 and {MAX_PAGE}"])


def _locations(error: ValidationError) -> list[str]:
    problems = error.errors(include_input=False, include_url=False, include_context=False)
    return [f"{'.'.join(map(str, problem['loc'][1:]))}: {problem['type']}" for problem in problems]
