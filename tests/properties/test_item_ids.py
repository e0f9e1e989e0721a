"""Ids of a server's that come again: each event changes the item that it means, and no other."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from typing import Any

from chatkit.types import (
    AssistantMessageContent,
    AssistantMessageContentPartTextDelta,
    AssistantMessageItem,
    CustomTask,
    GeneratedImage,
    GeneratedImageItem,
    GeneratedImageUpdated,
    ProgressUpdateEvent,
    ThreadItemAddedEvent,
    ThreadItemDoneEvent,
    ThreadItemRemovedEvent,
    ThreadItemReplacedEvent,
    ThreadItemUpdatedEvent,
    Workflow,
    WorkflowItem,
    WorkflowTaskAdded,
)
from hypothesis import example, given
from hypothesis import strategies as st

from relaykit.worker.execution.item_ids import PLACEHOLDERS, ItemIds
from tests.support.examples import examples

NAMES = ["a", "b", *PLACEHOLDERS, "\ud83d"]
TYPES = ["assistant_message", "workflow", "generated_image"]
BEGAN = datetime(2026, 1, 1)


def item_of(kind: str, name: str, text: str, created_at: datetime) -> Any:
    fields: dict[str, Any] = {"id": name, "thread_id": "thr_1", "created_at": created_at}
    match kind:
        case "assistant_message":
            return AssistantMessageItem(**fields, content=[AssistantMessageContent(text=text)])
        case "workflow":
            return WorkflowItem(**fields, workflow=Workflow(type="custom", tasks=[CustomTask(title=text)]))
        case _:
            return GeneratedImageItem(**fields, image=GeneratedImage(id="i", url=text))


def update_of(kind: str) -> Any:
    match kind:
        case "assistant_message":
            return AssistantMessageContentPartTextDelta(content_index=0, delta="x")
        case "workflow":
            return WorkflowTaskAdded(task_index=0, task=CustomTask(title="x"))
        case _:
            return GeneratedImageUpdated(image=GeneratedImage(id="i", url="x"))


@dataclass
class Meant:
    """An item as the server means it."""

    kind: str
    name: str
    created_at: datetime
    id: str | None = None
    stored: Any = None
    is_open: bool = True


@dataclass
class Server:
    """Says what it does to which of its items, and keeps what the store then has to hold."""

    thread: dict[str, Any]
    """The store, as the SDK writes it."""
    clock: Any = field(default_factory=lambda: (BEGAN + timedelta(seconds=n) for n in count(100)))
    numbers: Any = field(default_factory=count)
    items: list[Meant] = field(default_factory=list)
    """Those that are there, oldest first."""

    def __post_init__(self) -> None:
        self.older = dict(self.thread)
        self.ids = ItemIds(lambda _: f"fresh-{next(self.numbers)}")

    def say(self, event: Any) -> list[str]:
        """The ids that the SDK is given."""
        before = event.model_copy(deep=True)
        name = self.ids.name_to_look_up(event)
        if name is not None:
            self.ids.looked_up(name, self.thread.get(name))
        told = []
        for given_ in self.ids.apply(event):
            if isinstance(given_, ThreadItemDoneEvent | ThreadItemReplacedEvent):
                self.thread[given_.item.id] = given_.item
            elif isinstance(given_, ThreadItemRemovedEvent):
                self.thread.pop(given_.item_id, None)
            told.append(given_.item.id if hasattr(given_, "item") else given_.item_id)
        assert event == before, "the server's own event was changed"
        return told

    def text(self) -> str:
        return f"text {next(self.numbers)}"

    def newest(self, name: str, kind: str | None = None) -> Meant | None:
        of_name = [item for item in self.items if item.name == name and kind in (None, item.kind)]
        return of_name[-1] if of_name else None

    def begin(self, name: str, kind: str) -> None:
        meant = Meant(kind, name, next(self.clock))
        for earlier in self.items:
            if (earlier.name, earlier.kind) == (name, kind):
                earlier.is_open = False  # the name stands for the new one
        event = ThreadItemAddedEvent(item=item_of(kind, name, "", meant.created_at))
        [meant.id] = self.say(event)
        assert meant.id not in {item.id for item in self.items} | set(self.older)
        self.items.append(meant)
        assert self.say(event) == [meant.id], "the same again"

    def update(self, name: str, kind: str) -> None:
        meant = self.newest(name, kind)
        if meant is not None:
            event = ThreadItemUpdatedEvent(item_id=name, update=update_of(kind))
            assert self.say(event) == [meant.id]

    def finish(self, name: str, kind: str, *, again: bool, same_time: bool) -> None:
        meant = self.newest(name, kind)
        if meant is None or not (meant.is_open or again):
            meant = Meant(kind, name, next(self.clock))
        elif meant.is_open and not same_time:
            meant.created_at = next(self.clock)  # as stream_agent_response does
        item = item_of(kind, name, self.text(), meant.created_at)
        [item_id] = self.say(ThreadItemDoneEvent(item=item))
        if meant.id is None:
            assert item_id not in {other.id for other in self.items} | set(self.older)
            self.items.append(meant)
        assert meant.id in (None, item_id)
        meant.id, meant.stored, meant.is_open = item_id, item, False

    def replace(self, name: str, kind: str) -> None:
        meant = self.newest(name, kind)
        if meant is not None:
            meant.stored = item_of(kind, name, self.text(), meant.created_at)
            meant.is_open = False
            assert self.say(ThreadItemReplacedEvent(item=meant.stored)) == [meant.id]

    def remove(self, name: str) -> None:
        """All that it has shown by the name; where that is nothing, the older item, which must be there."""
        own = [item for item in self.items if item.name == name]
        if own:
            told = self.say(ThreadItemRemovedEvent(item_id=name))
            assert told == [item.id for item in own]
            self.items = [item for item in self.items if item.name != name]
        elif name in self.older:
            assert self.say(ThreadItemRemovedEvent(item_id=name)) == [name]
            del self.older[name]

    def change_older(self, name: str, how: type) -> None:
        """Shows the thread's item again, changed: that is no item of its own."""
        older = self.older.get(name)
        if older is not None and older == self.thread.get(name):
            item = item_of(older.type, name, self.text(), older.created_at)
            if how is ThreadItemReplacedEvent and not any(i.name == name for i in self.items):
                item.created_at = next(self.clock)  # whatever it says: the name means the thread's
            assert self.say(how(item=item)) == [name]
            self.older[name] = item

    def check(self) -> None:
        ids = [item.id for item in self.items]
        assert len(set(ids) | set(self.older)) == len(ids) + len(self.older)
        expected = {
            item.id: item.stored.model_copy(update={"id": item.id}) for item in self.items if item.stored
        }
        assert self.thread == {**self.older, **expected}


ACTS = st.one_of(
    st.tuples(st.just("begin"), st.sampled_from(NAMES), st.sampled_from(TYPES)),
    st.tuples(st.just("update"), st.sampled_from(NAMES), st.sampled_from(TYPES)),
    st.tuples(
        st.just("finish"), st.sampled_from(NAMES), st.sampled_from(TYPES), st.booleans(), st.booleans()
    ),
    st.tuples(st.just("replace"), st.sampled_from(NAMES), st.sampled_from(TYPES)),
    st.tuples(st.just("remove"), st.sampled_from(NAMES)),
    st.tuples(
        st.just("change_older"),
        st.sampled_from(["a", "b"]),
        st.sampled_from([ThreadItemDoneEvent, ThreadItemReplacedEvent]),
    ),
)


@examples(300)
@given(st.dictionaries(st.sampled_from(["a", "b"]), st.sampled_from(TYPES)), st.lists(ACTS, max_size=20))
@example(
    older={"a": "assistant_message"},
    acts=[
        ("change_older", "a", ThreadItemDoneEvent),
        ("change_older", "a", ThreadItemReplacedEvent),  # by one of another time
        ("change_older", "a", ThreadItemDoneEvent),
    ],
)
def test_each_event_changes_the_item_that_it_means_and_no_other(older: dict[str, str], acts: Any) -> None:
    thread = {name: item_of(kind, name, f"older {name}", BEGAN) for name, kind in older.items()}
    server = Server(thread)
    for act in acts:
        match act:
            case ("finish", name, kind, again, same_time):
                server.finish(name, kind, again=again, same_time=same_time)
            case (what, *arguments):
                getattr(server, what)(*arguments)
        server.check()


@examples(50)
@given(st.lists(st.sampled_from(["added", "done", "updated", "replaced", "removed"]), max_size=10))
def test_an_id_of_the_stores_own_is_never_another(kinds: list[str]) -> None:
    """Not even where a server uses it for several items, or changes the time of creation: it costs no look."""
    ids = ItemIds(lambda _: "fresh", {"msg_given"})
    for number, kind in enumerate(kinds):
        item = item_of("assistant_message", "msg_given", "x", BEGAN + timedelta(seconds=number))
        event = {
            "added": ThreadItemAddedEvent(item=item),
            "done": ThreadItemDoneEvent(item=item),
            "updated": ThreadItemUpdatedEvent(item_id="msg_given", update=update_of("assistant_message")),
            "replaced": ThreadItemReplacedEvent(item=item),
            "removed": ThreadItemRemovedEvent(item_id="msg_given"),
        }[kind]
        assert ids.name_to_look_up(event) is None
        assert list(ids.apply(event)) == [event]


def test_an_item_that_the_server_has_stored_itself_is_the_one_that_it_then_shows() -> None:
    ids = ItemIds(lambda _: "fresh")
    item = item_of("assistant_message", "mine", "x", BEGAN)
    event = ThreadItemAddedEvent(item=item)
    assert ids.name_to_look_up(event) == "mine"
    ids.looked_up("mine", item.model_copy(deep=True))
    assert list(ids.apply(event)) == [event]


def test_the_removal_of_what_was_never_shown_under_a_placeholder_removes_nothing() -> None:
    """A guardrail that trips behind a tool call names the call, which a model behind Chat Completions calls so too."""
    ids = ItemIds(lambda _: "fresh")
    [placeholder] = PLACEHOLDERS
    assert list(ids.apply(ThreadItemRemovedEvent(item_id=placeholder))) == []
    other = ProgressUpdateEvent(text="x")
    assert list(ids.apply(other)) == [other]
