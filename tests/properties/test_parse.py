"""Parsing a ChatKit request: what the SDK takes is taken as the SDK takes it, all else is a domain error."""

from __future__ import annotations

import base64
import copy
import json
from typing import Any

import pytest
from chatkit.types import ChatKitReq, NonStreamingReq, StreamingReq
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from api.parse import MAX_PAGE, ParsedRequest, parse
from shared.errors import EmptyMessage, InvalidJson, InvalidRequest, RelaykitError, UnknownRequestType

quick = settings(deadline=None, max_examples=80)
few = settings(deadline=None, max_examples=12)
"""For each type of request."""

SDK: TypeAdapter[ChatKitReq] = TypeAdapter(ChatKitReq)
REFUSALS = (InvalidJson, UnknownRequestType, InvalidRequest, EmptyMessage)

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
METADATA = st.dictionaries(st.sampled_from(["page", "plan", "a", "b"]), JSON, max_size=3)
IDS = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=12)
TEXT = st.text(min_size=1, max_size=12).filter(str.strip)


def fields(required: dict[str, Any], **optional: Any) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(required, optional=optional)


CONTENT = st.lists(
    fields({"type": st.just("input_text"), "text": TEXT})
    | fields(
        {"type": st.just("input_tag"), "id": IDS, "text": TEXT, "data": METADATA},
        group=st.none() | TEXT,
        interactive=st.booleans(),
    ),
    min_size=1,
    max_size=2,
)
INPUT = fields(
    {"content": CONTENT, "attachments": st.lists(IDS, max_size=2)},
    quoted_text=st.none() | TEXT,
    metadata=METADATA,
).flatmap(
    lambda given: fields(
        {"inference_options": fields({}, model=st.none() | TEXT, tool_choice=fields({"id": IDS}))}
    ).map(lambda options: {**given, **options})
)
ANSWERS = fields(
    {},
    status=st.sampled_from(["answered", "skipped"]),
    answers=st.dictionaries(IDS, fields({}, values=st.lists(TEXT, max_size=2), skipped=st.booleans())),
)
ACTION = fields({"type": TEXT}, payload=JSON)
LIMIT = st.none() | st.integers(0, MAX_PAGE)
ORDER = st.sampled_from(["asc", "desc"])

PARAMS: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "threads.create": fields({"input": INPUT}),
    "threads.add_user_message": fields({"thread_id": IDS, "input": INPUT}),
    "threads.add_client_tool_output": fields({"thread_id": IDS, "result": JSON}),
    "threads.add_structured_input": fields({"thread_id": IDS, "item_id": IDS, "input": ANSWERS}),
    "threads.retry_after_item": fields({"thread_id": IDS, "item_id": IDS}),
    "threads.custom_action": fields({"thread_id": IDS, "action": ACTION}, item_id=st.none() | IDS),
    "threads.sync_custom_action": fields({"thread_id": IDS, "action": ACTION}, item_id=st.none() | IDS),
    "threads.get_by_id": fields({"thread_id": IDS}),
    "threads.list": fields({}, limit=LIMIT, order=ORDER, after=st.none() | IDS),
    "threads.update": fields({"thread_id": IDS, "title": st.text(max_size=8)}),
    "threads.delete": fields({"thread_id": IDS}),
    "items.list": fields({"thread_id": IDS}, limit=LIMIT, order=ORDER, after=st.none() | IDS),
    "items.feedback": fields(
        {"thread_id": IDS, "item_ids": st.lists(IDS), "kind": st.sampled_from(["positive", "negative"])}
    ),
    "attachments.create": fields({"name": TEXT, "size": st.integers(0, 10**9), "mime_type": TEXT}),
    "attachments.delete": fields({"attachment_id": IDS}),
    "input.transcribe": fields(
        {"audio_base64": st.binary(max_size=9).map(lambda data: base64.b64encode(data).decode())},
    ).map(lambda given: {**given, "mime_type": "audio/webm"}),
}


def requests_of(kind: str) -> st.SearchStrategy[dict[str, Any]]:
    return fields({"type": st.just(kind), "params": PARAMS[kind]}, metadata=METADATA)


KINDS = sorted(PARAMS)
REQUESTS = st.sampled_from(KINDS).flatmap(requests_of)


def encoded(value: Any) -> bytes:
    return json.dumps(value).encode()


def outcome(body: bytes) -> ParsedRequest | RelaykitError:
    try:
        return parse(body)
    except RelaykitError as error:
        return error


def test_every_type_of_the_protocol_is_here():
    unions = (*StreamingReq.__args__, *NonStreamingReq.__args__)
    assert set(PARAMS) == {model.model_fields["type"].default for model in unions}


@pytest.mark.parametrize("kind", KINDS)
@few
@given(st.data())
def test_a_valid_request_is_what_the_sdk_makes_of_it(kind, data):
    body = encoded(data.draw(requests_of(kind)))
    assert parse(body).request == SDK.validate_json(body)


@pytest.mark.parametrize("kind", KINDS)
@few
@given(st.data(), METADATA, METADATA)
def test_metadata_of_both_places_is_joined_and_that_of_the_input_wins(kind, data, outer, inner):
    request_ = data.draw(requests_of(kind))
    request_["metadata"] = {**outer, "page": "outer"}
    if "input" in request_["params"]:
        request_["params"]["input"]["metadata"] = {**inner, "page": "inner"}
        assert parse(encoded(request_)).metadata == {**outer, **inner, "page": "inner"}
    else:
        assert parse(encoded(request_)).metadata == {**outer, "page": "outer"}


@pytest.mark.parametrize("kind", ["threads.create", "threads.add_user_message"])
def test_the_metadata_of_an_input_must_be_an_object(kind):
    params = {"input": {"content": [], "attachments": ["atc_1"], "inference_options": {}, "metadata": ["x"]}}
    with pytest.raises(InvalidRequest):
        parse(encoded({"type": kind, "params": {**params, "thread_id": "thr_1"}}))


@quick
@given(JSON)
def test_any_json_is_refused_with_a_domain_error(value):
    expected = UnknownRequestType if isinstance(value, dict) else InvalidJson
    with pytest.raises(expected):
        parse(encoded(value))


@quick
@given(st.binary(max_size=40) | st.text(max_size=40).map(str.encode))
def test_any_bytes_are_refused_with_a_domain_error(body):
    assert isinstance(outcome(body), REFUSALS)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, child in inner for place in places(child, (*path, key)))]


def changed(request: Any, path: tuple[Any, ...], value: Any, *, removed: bool) -> Any:
    if not path:
        return value
    request = copy.deepcopy(request)
    parent = request
    for key in path[:-1]:
        parent = parent[key]
    if removed:
        del parent[path[-1]]
    else:
        parent[path[-1]] = value
    return request


def ids(request: Any) -> list[tuple[Any, ...]]:
    """The places of the ids in a request."""
    params = request["params"]
    found = [
        ("params", name) for name in ("thread_id", "item_id", "attachment_id", "after") if name in params
    ]
    found += [("params", "item_ids", place) for place in range(len(params.get("item_ids", ())))]
    attached = params.get("input", {}).get("attachments", ())
    return found + [("params", "input", "attachments", place) for place in range(len(attached))]


@pytest.mark.parametrize("kind", KINDS)
@few
@given(st.data(), st.sampled_from(["", "\x00", "thr_\x00", "x" * 513]))
def test_what_can_be_no_id_is_refused_wherever_an_id_stands(kind, data, value):
    request_ = data.draw(requests_of(kind))
    for path in ids(request_):
        with pytest.raises(InvalidRequest):
            parse(encoded(changed(request_, path, value, removed=False)))


MISFITS = st.one_of(
    JSON,
    st.sampled_from(
        ["", "\x00", "x" * 513, "5", "500", "-1", 101, -1, 5.0, 500.0, True, False, {}, [], [""], [None]]
    ),
)


@settings(deadline=None, max_examples=200)
@given(REQUESTS, MISFITS, st.booleans(), st.data())
def test_a_request_with_one_thing_changed_is_refused_or_is_what_the_sdk_makes_of_it(
    request_, value, removed, data
):
    path = data.draw(st.sampled_from(places(request_)))
    request_ = changed(request_, path, value, removed=removed)
    body = encoded(request_)
    result = outcome(body)
    if isinstance(result, RelaykitError):
        assert isinstance(result, REFUSALS)
        return
    assert result.request == SDK.validate_json(body)
    params = result.request.params
    assert 0 <= (getattr(params, "limit", None) or 0) <= MAX_PAGE
    for name in ("thread_id", "item_id", "attachment_id", "after"):
        given = getattr(params, name, None)
        assert given is None or (0 < len(given) <= 512 and "\x00" not in given)


@quick
@given(REQUESTS, st.data())
def test_what_the_sdk_refuses_is_refused_and_nothing_given_is_told(request_, data):
    """The places are named, never what stood there."""
    path = data.draw(st.sampled_from(places(request_)[1:]))
    body = encoded(changed(request_, path, ["a secret", ["a secret"], {"text": "a secret"}], removed=False))
    try:
        SDK.validate_json(body)
    except ValidationError:
        error = outcome(body)
        assert isinstance(error, REFUSALS)
        assert "secret" not in error.message
        assert "secret" not in repr(getattr(error, "locations", ()))


@pytest.mark.parametrize("limit", ['"500"', "500.0", "500", "-1", "101", '"-1"', "1e3"])
def test_a_page_is_bounded_however_its_size_is_written(limit):
    """The SDK takes "500" and 500.0 for a number, too."""
    with pytest.raises(InvalidRequest):
        parse(b'{"type": "threads.list", "params": {"limit": %b}}' % limit.encode())


@pytest.mark.parametrize(
    "body",
    [
        *(
            b"",
            b" ",
            b"{",
            b"[]",
            b"null",
            b"1",
            b'"x"',
            b"\xff",
            b"\x00",
            b"{} {}",
            b"NaN",
            b'{"type": NaN}',
        ),
        *(b'{"type": "\\ud800"}', b"[" * 100_000, b'{"a":' * 100_000, b"9" * 10_000),
    ],
)
def test_what_is_no_json_object_is_refused(body):
    with pytest.raises(InvalidJson):
        parse(body)


@pytest.mark.parametrize(
    "content", [[], [{"type": "input_text", "text": ""}], [{"type": "input_text", "text": " \n\t"}]]
)
def test_a_message_with_nothing_in_it_is_refused(content):
    request = {
        "type": "threads.create",
        "params": {"input": {"content": content, "attachments": [], "inference_options": {}}},
    }
    with pytest.raises(EmptyMessage):
        parse(encoded(request))
    request["params"]["input"]["attachments"] = ["atc_1"]
    assert parse(encoded(request)).request == SDK.validate_json(encoded(request))
