"""ChatKit requests as hypothesis strategies: valid ones of all sixteen types, and places to spoil in them."""

from __future__ import annotations

import base64
import copy
from typing import Any

from hypothesis import strategies as st

from relaykit.api.admission.parse import MAX_PAGE

Strategy = st.SearchStrategy[dict[str, Any]]

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


def fields(required: dict[str, Any], **optional: Any) -> Strategy:
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
OPTIONS = fields({}, model=st.none() | TEXT, tool_choice=fields({"id": IDS}))
ANSWERS = fields(
    {},
    status=st.sampled_from(["answered", "skipped"]),
    answers=st.dictionaries(
        st.just("q") | IDS, fields({}, values=st.lists(TEXT, max_size=2), skipped=st.booleans())
    ),
)
ACTION = fields({"type": TEXT}, payload=JSON)
LIMIT = st.none() | st.integers(0, MAX_PAGE)
ORDER = st.sampled_from(["asc", "desc"])
AUDIO = st.binary(max_size=9).map(lambda data: base64.b64encode(data).decode())


def params_of(
    threads: st.SearchStrategy[str] = IDS,
    items: st.SearchStrategy[str] = IDS,
    attachments: st.SearchStrategy[str] = IDS,
) -> dict[str, Strategy]:
    """The `params` of each type; where an id stands, one of those that are given."""
    message = fields(
        {
            "content": CONTENT,
            "attachments": st.lists(attachments, max_size=2),
            "inference_options": OPTIONS,
        },
        quoted_text=st.none() | TEXT,
        metadata=METADATA,
    )
    thread, item = {"thread_id": threads}, {"item_id": items}
    action = fields({**thread, "action": ACTION}, item_id=st.none() | items)
    page: dict[str, Any] = {"limit": LIMIT, "order": ORDER}
    kinds = st.sampled_from(["positive", "negative"])
    return {
        "threads.create": fields({"input": message}),
        "threads.add_user_message": fields({**thread, "input": message}),
        "threads.add_client_tool_output": fields({**thread, "result": JSON}),
        "threads.add_structured_input": fields({**thread, **item, "input": ANSWERS}),
        "threads.retry_after_item": fields({**thread, **item}),
        "threads.custom_action": action,
        "threads.sync_custom_action": action,
        "threads.get_by_id": fields(thread),
        "threads.list": fields({}, after=st.none() | threads, **page),
        "threads.update": fields({**thread, "title": st.text(max_size=8)}),
        "threads.delete": fields(thread),
        "items.list": fields(thread, after=st.none() | items, **page),
        "items.feedback": fields({**thread, "item_ids": st.lists(items), "kind": kinds}),
        "attachments.create": fields({"name": TEXT, "size": st.integers(0, 10**9), "mime_type": TEXT}),
        "attachments.delete": fields({"attachment_id": attachments}),
        "input.transcribe": fields({"audio_base64": AUDIO, "mime_type": st.just("audio/webm")}),
    }


KINDS = sorted(params_of())


def request_of(kind: str, params: Strategy) -> Strategy:
    return fields({"type": st.just(kind), "params": params}, metadata=METADATA)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, child in inner for place in places(child, (*path, key)))]


def changed(request: Any, path: tuple[Any, ...], value: Any, *, removed: bool) -> Any:
    """The request with another value at this place, or with nothing there."""
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


MISFITS = st.one_of(
    JSON,
    st.sampled_from(
        ["", "\x00", "x" * 513, "5", "500", "-1", 101, -1, 5.0, 500.0, True, False, {}, [], [""], [None]]
    ),
)
"""What may stand where something else should."""
