"""Whose is what: an owner's resources, the strangers who ask for them, and every way to name one of them.

The matrix has a cell for each route and for each field of the sixteen requests that names a resource; what names
nothing is listed, too, so that test_tenants.py notices a new route or field.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from chatkit.types import NonStreamingReq, StreamingReq
from pydantic import BaseModel

from tests.support.system import user_input

MARK = "Geheim7391"
"""Stands in all that the owner has; no stranger may ever see it."""


@dataclass(frozen=True)
class Resources:
    """What someone has, or ids of what nobody has."""

    thread: str
    """With an item of each kind, and an active run."""
    user: str
    widget: str
    pending: str
    assistant: str
    asking: str
    """A thread that ends with a pending client tool call."""
    attachment: str
    """Uploaded."""
    unsent: str
    """An attachment that is not."""
    run: str
    links: dict[str, str] = field(default_factory=dict)
    """The query of the signed link for GET of `attachment`, and for PUT of `unsent`."""


ABSENT = Resources(
    thread=f"thr_{'0' * 32}",
    user=f"msg_{'0' * 32}",
    widget=f"msg_{'1' * 32}",
    pending=f"msg_{'2' * 32}",
    assistant=f"msg_{'3' * 32}",
    asking=f"thr_{'1' * 32}",
    attachment=f"atc_{'0' * 32}",
    unsent=f"atc_{'1' * 32}",
    run=f"run_{'0' * 32}",
)


@dataclass(frozen=True)
class Ask:
    method: str
    path: str
    json: dict[str, Any] | None = None
    content: bytes | None = None


@dataclass(frozen=True)
class Cell:
    """One way to name a resource. `ask` gets what the caller has, and whose resource is named."""

    ask: Callable[[Resources, Resources], Ask]
    status: int = 404
    code: str | None = None
    """None where the answer has no body."""


def _chatkit(of_type: str, /, **params: Any) -> Ask:
    return Ask("POST", "/chatkit", {"type": of_type, "params": params})


def _answers(thread: str, item: str) -> Ask:
    given = {"answers": {"q": {"values": ["x"]}}}
    return _chatkit("threads.add_structured_input", thread_id=thread, item_id=item, input=given)


def _action(kind: str, thread: str, item: str) -> Ask:
    return _chatkit(kind, thread_id=thread, item_id=item, action={"type": "count", "payload": {"by": 1}})


def _message(thread: str, *attachments: str) -> Ask:
    return _chatkit("threads.add_user_message", thread_id=thread, input=user_input("hi", attachments))


def _feedback(thread: str, item: str) -> Ask:
    return _chatkit("items.feedback", thread_id=thread, item_ids=[item], kind="positive")


def _attachment(method: str, attachment: str, links: dict[str, str]) -> Ask:
    """By the link that the caller has for something else, or for this very one."""
    return Ask(
        method,
        f"/attachments/{attachment}?{links.get(method, '')}",
        content=b"abc" if method == "PUT" else None,
    )


THREAD, ITEM, ATTACHMENT, RUN = "thread_not_found", "item_not_found", "attachment_not_found", "run_not_found"

FIELDS: dict[tuple[str, str], Cell] = {
    ("threads.get_by_id", "thread_id"): Cell(
        lambda own, it: _chatkit("threads.get_by_id", thread_id=it.thread), code=THREAD
    ),
    ("threads.list", "after"): Cell(lambda own, it: _chatkit("threads.list", after=it.thread), code=THREAD),
    ("threads.update", "thread_id"): Cell(
        lambda own, it: _chatkit("threads.update", thread_id=it.thread, title="mine"), code=THREAD
    ),
    ("threads.delete", "thread_id"): Cell(
        lambda own, it: _chatkit("threads.delete", thread_id=it.thread), code=THREAD
    ),
    ("threads.create", "input.attachments"): Cell(
        lambda own, it: _chatkit("threads.create", input=user_input("hi", [it.attachment])), code=ATTACHMENT
    ),
    ("threads.add_user_message", "thread_id"): Cell(lambda own, it: _message(it.thread), code=THREAD),
    ("threads.add_user_message", "input.attachments"): Cell(
        lambda own, it: _message(own.thread, it.attachment), code=ATTACHMENT
    ),
    ("threads.add_client_tool_output", "thread_id"): Cell(
        lambda own, it: _chatkit("threads.add_client_tool_output", thread_id=it.asking, result=1), code=THREAD
    ),
    ("threads.add_structured_input", "thread_id"): Cell(
        lambda own, it: _answers(it.thread, it.pending), code=THREAD
    ),
    ("threads.add_structured_input", "item_id"): Cell(
        lambda own, it: _answers(own.thread, it.pending), code=ITEM
    ),
    ("threads.retry_after_item", "thread_id"): Cell(
        lambda own, it: _chatkit("threads.retry_after_item", thread_id=it.thread, item_id=it.user),
        code=THREAD,
    ),
    ("threads.retry_after_item", "item_id"): Cell(
        lambda own, it: _chatkit("threads.retry_after_item", thread_id=own.thread, item_id=it.user), code=ITEM
    ),
    **{
        (kind, name): Cell(ask, code=code)
        for kind, thread_code in (("threads.custom_action", THREAD), ("threads.sync_custom_action", ITEM))
        for name, code, ask in (
            ("thread_id", thread_code, lambda own, it, kind=kind: _action(kind, it.thread, it.widget)),
            ("item_id", ITEM, lambda own, it, kind=kind: _action(kind, own.thread, it.widget)),
        )
    },
    ("items.list", "thread_id"): Cell(
        lambda own, it: _chatkit("items.list", thread_id=it.thread), code=THREAD
    ),
    ("items.list", "after"): Cell(
        lambda own, it: _chatkit("items.list", thread_id=own.thread, after=it.user), code=ITEM
    ),
    ("items.feedback", "thread_id"): Cell(lambda own, it: _feedback(it.thread, it.assistant), code=THREAD),
    ("items.feedback", "item_ids"): Cell(lambda own, it: _feedback(own.thread, it.assistant), code=ITEM),
    ("attachments.delete", "attachment_id"): Cell(
        lambda own, it: _chatkit("attachments.delete", attachment_id=it.attachment), code=ATTACHMENT
    ),
}
"""Each field of a request that names something."""

NO_NAMES = frozenset(
    {
        *("metadata", "input.content.data", "result", "action.payload"),  # any JSON of the client's
        *("title", "name", "mime_type", "audio_base64", "action.type", "input.quoted_text"),
        *("input.content.text", "input.content.group", "input.content.id"),  # a tag's id is the client's own
        *("input.inference_options.model", "input.inference_options.tool_choice.id"),  # the server's
        *("input.answers", "input.answers.values"),  # of questions within the item
    }
)
"""Fields of requests that are text or anything, and name no resource."""

ROUTES: dict[tuple[str, str], Cell] = {
    ("/runs/{run_id}", "GET"): Cell(lambda own, it: Ask("GET", f"/runs/{it.run}"), code=RUN),
    ("/runs/{run_id}/events", "GET"): Cell(lambda own, it: Ask("GET", f"/runs/{it.run}/events"), code=RUN),
    ("/runs/{run_id}/cancel", "POST"): Cell(lambda own, it: Ask("POST", f"/runs/{it.run}/cancel"), code=RUN),
    ("/runs/{run_id}/withdraw", "POST"): Cell(
        lambda own, it: Ask("POST", f"/runs/{it.run}/withdraw"), code=RUN
    ),
    ("/threads/{thread_id}/marks", "GET"): Cell(
        lambda own, it: Ask("GET", f"/threads/{it.thread}/marks"), status=200
    ),
    ("/threads/{thread_id}/run", "GET"): Cell(
        lambda own, it: Ask("GET", f"/threads/{it.thread}/run"), status=204
    ),
    ("/attachments/{attachment_id}/link", "GET"): Cell(
        lambda own, it: Ask("GET", f"/attachments/{it.attachment}/link"), code=ATTACHMENT
    ),
    ("/attachments/{attachment_id}", "GET"): Cell(
        lambda own, it: _attachment("GET", it.attachment, own.links), code=ATTACHMENT
    ),
    ("/attachments/{attachment_id}", "PUT"): Cell(
        lambda own, it: _attachment("PUT", it.unsent, own.links), code=ATTACHMENT
    ),
}
"""Each route that names something, but for POST /chatkit, whose names are in its body."""

NAMELESS_ROUTES = frozenset(
    {
        *(("/healthz", "GET"), ("/readyz", "GET"), ("/metrics", "GET"), ("/openapi.json", "GET")),
        *(("/openapi.json", "HEAD"), ("/dev/token", "POST"), ("/dev/jwks.json", "GET")),
        *(("/", "GET"), ("/", "HEAD"), ("/demo", "GET"), ("/demo", "HEAD")),
        *(("/demo/{path:path}", "GET"), ("/demo/{path:path}", "HEAD")),
        ("/demo/options.json", "GET"),
    }
)

CELLS = {f"{kind} {name}": cell for (kind, name), cell in FIELDS.items()} | {
    f"{method} {path}": cell for (path, method), cell in ROUTES.items()
}


def text_fields() -> Iterator[tuple[str, str]]:
    """(type, path below `params`) of every field of the sixteen requests that can hold an id."""
    for model in (*get_args(StreamingReq), *get_args(NonStreamingReq)):
        kind = model.model_fields["type"].default
        for path in _texts(model):
            if path != "type":
                yield kind, path.removeprefix("params.")


def _texts(annotation: Any) -> Iterator[str]:
    """The places that are text, or anything, below an annotation; the place itself is the empty path."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        annotation.model_rebuild()
        for name, info in annotation.model_fields.items():
            yield from (f"{name}.{path}".rstrip(".") for path in _texts(info.annotation))
    elif annotation in (str, Any) or get_origin(annotation) is dict:
        yield ""
        for value in get_args(annotation)[1:]:
            yield from (path for path in _texts(value) if path)
    elif get_origin(annotation) is Annotated:
        yield from _texts(get_args(annotation)[0])
    elif get_origin(annotation) in (list, Union, UnionType):
        found = [path for value in get_args(annotation) for path in _texts(value)]
        yield from dict.fromkeys(found)
    else:
        known = annotation in (int, bool, float, type(None)) or get_origin(annotation) is Literal
        assert known, f"what can stand in {annotation}?"
