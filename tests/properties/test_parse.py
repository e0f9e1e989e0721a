"""Parsing a ChatKit request: what the SDK takes is taken as the SDK takes it, all else is a domain error."""

from __future__ import annotations

import json
from typing import Any

import pytest
from chatkit.types import ChatKitReq, NonStreamingReq, StreamingReq
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from relaykit.api.admission.json_shape import MAX_ENTRIES, MAX_VALUES
from relaykit.api.admission.parse import MAX_ANSWERS, MAX_IDS, MAX_PAGE, ParsedRequest
from relaykit.api.admission.parse import parse as parse_with
from relaykit.shared.errors import (
    EmptyMessage,
    InvalidJson,
    InvalidRequest,
    MessageTooLarge,
    RelaykitError,
    UnknownRequestType,
)
from tests.integration.persistence import settings_for
from tests.properties.chatkit_requests import (
    JSON,
    KINDS,
    METADATA,
    MISFITS,
    changed,
    params_of,
    places,
    request_of,
)
from tests.support.examples import examples

quick = examples(80)
few = examples(12)
"""For each type of request."""
PARSER_LEVELS = 201
fewest = examples(4)
"""For each type of request, where the bodies are large."""

SDK: TypeAdapter[ChatKitReq] = TypeAdapter(ChatKitReq)
REFUSALS = (InvalidJson, UnknownRequestType, InvalidRequest, EmptyMessage, MessageTooLarge)
SETTINGS = settings_for("postgresql://unused/unused")

PARAMS = params_of()


def requests_of(kind: str) -> st.SearchStrategy[dict[str, Any]]:
    return request_of(kind, PARAMS[kind])


REQUESTS = st.sampled_from(KINDS).flatmap(requests_of)


def parse(body: bytes) -> ParsedRequest:
    return parse_with(body, SETTINGS)


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


@quick
@given(st.text(st.characters(codec=None)), st.sampled_from(["\ud83d", "\ude00", "\ude00\ud83d"]))
def test_halves_of_characters_are_what_a_browser_makes_of_them(text, halves):
    given_ = f"a{text}{halves}"
    metadata = parse(encoded({"type": "threads.list", "params": {}, "metadata": {given_: given_}})).metadata
    expected = given_.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    assert metadata == {expected: expected}


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


@examples(200)
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


@pytest.mark.parametrize("kind", ["threads.custom_action", "threads.sync_custom_action"])
def test_an_action_without_a_type_is_refused(kind):
    """The SDK takes it, and gives it a type that is no text."""
    with pytest.raises(InvalidRequest):
        parse(encoded({"type": kind, "params": {"thread_id": "thr_1", "action": {"payload": 1}}}))


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
        *(b'{"type": "\xed\xa0\x80"}', b"[" * 100_000, b'{"a":' * 100_000, b"9" * 10_000),
    ],
)
def test_what_is_no_json_object_is_refused(body):
    with pytest.raises(InvalidJson):
        parse(body)


JUNK = st.sampled_from([1, None, "", [], {}, [[]], {"type": "input_text"}, {"values": [1]}])


@pytest.mark.parametrize("kind", KINDS)
@fewest
@given(st.data(), JUNK)
def test_a_refusal_costs_no_more_than_the_longest_list_of_the_protocol(kind, data, junk):
    """Thousands of wrong entries, wherever they stand, are counted and not validated: each would be an error."""
    request_ = data.draw(requests_of(kind))
    path = data.draw(st.sampled_from(places(request_)[1:]))
    many = data.draw(st.sampled_from([[junk] * 9000, {str(number): junk for number in range(9000)}]))
    result = outcome(encoded(changed(request_, path, many, removed=False)))
    errors_of_an_entry = 4
    most = errors_of_an_entry * max(SETTINGS.message_max_parts, MAX_IDS, MAX_ANSWERS)
    assert len(getattr(result, "locations", ())) <= most


@pytest.mark.parametrize("kind", KINDS)
@fewest
@given(st.data(), st.sampled_from(["a list", "an object", "values", "levels"]))
def test_what_no_request_needs_is_refused_wherever_it_stands(kind, data, what):
    """Also where the protocol takes any JSON: metadata, a tag's data, a payload, a result."""
    value: Any = {
        "a list": [0] * (MAX_ENTRIES + 1),
        "an object": {str(number): 0 for number in range(MAX_ENTRIES + 1)},
        "values": [[0] * 999] * (MAX_VALUES // 1000 + 1),
        "levels": json.loads("[" * PARSER_LEVELS + "]" * PARSER_LEVELS),
    }[what]
    request_ = data.draw(requests_of(kind))
    path = data.draw(st.sampled_from(places(request_)[1:]))
    result = outcome(encoded(changed(request_, path, value, removed=False)))
    assert isinstance(result, REFUSALS)


@pytest.mark.parametrize("kind", KINDS)
@few
@given(
    st.data(),
    st.sampled_from(["1e999", "-1e999", "1E+309", "9" * 310 + ".5", "-" + "9" * 200 + "e150"]),
)
def test_a_number_that_no_float_holds_is_refused_wherever_it_stands(kind, data, number):
    """NaN and Infinity are refused by the parser, which takes these for infinity."""
    request_ = data.draw(requests_of(kind))
    path = data.draw(st.sampled_from(places(request_)[1:]))
    body = encoded(changed(request_, path, "a number", removed=False)).replace(b'"a number"', number.encode())
    with pytest.raises((InvalidJson, UnknownRequestType)):
        parse(body)


@pytest.mark.parametrize("number", ["1e308", "-1e308", "1e-999", "9" * 310, "0e999"])
def test_a_number_that_a_float_or_an_integer_holds_is_taken(number):
    body = b'{"type": "threads.list", "params": {}, "metadata": {"n": %b}}' % number.encode()
    assert parse(body).metadata == {"n": json.loads(number)}


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
