"""What a client sees of one run: its events, and what they come to on the screen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from chatkit.types import (
    AssistantMessageItem,
    ClientEffectEvent,
    ClientToolCallItem,
    ErrorEvent,
    NoticeEvent,
    ProgressUpdateEvent,
    StructuredInputItem,
    ThreadItem,
    ThreadItemAddedEvent,
    ThreadItemDoneEvent,
    ThreadItemRemovedEvent,
    ThreadItemReplacedEvent,
    ThreadItemUpdatedEvent,
    ThreadStreamEvent,
    UserMessageItem,
    WidgetItem,
)
from pydantic import TypeAdapter

from relaykit.shared.journal import START, Field
from relaykit.testing.site import Site

_EVENT: Final[TypeAdapter[ThreadStreamEvent]] = TypeAdapter(ThreadStreamEvent)


class Sender(Protocol):
    """The client whose answer it is."""

    async def send(self, request: Mapping[str, Any]) -> Answer: ...

    async def cancel(self, run_id: str) -> None: ...


class Answer:
    """The run that a request became, as its client sees it: up to now, and whole once it has ended.

    `await answer.ended()` waits for that; `say` and its like have done so.
    """

    def __init__(
        self, sender: Sender, site: Site, run_id: str, thread_id: str, lost_after: Sequence[int]
    ) -> None:
        self._sender = sender
        self._site = site
        self._lost_after = lost_after
        self.run_id = run_id
        self.thread_id = thread_id

    def __repr__(self) -> str:
        return f"<Answer {self.status} {self.text!r}>"

    # What came

    @property
    def events(self) -> list[ThreadStreamEvent]:
        """The events that the client was sent, in their order. The first are those of the admission."""
        entries = self._site.journals.read_now(self.run_id, START)
        return [_EVENT.validate_json(entry.payload) for entry in entries if entry.field is Field.EVENT]

    @property
    def status(self) -> str:
        """The run's: waiting, queued, running, completed, failed or cancelled."""
        return str(self._row["status"])

    @property
    def error_code(self) -> str | None:
        """The code of the error that the run ended with, as `GET /runs/{id}` gives it."""
        error: str | None = self._row["error"]
        return error

    @property
    def attempts(self) -> int:
        """How many attempts have begun."""
        return int(self._row["attempt"])

    @property
    def _row(self) -> dict[str, Any]:
        return self._site.database.tables.runs[self.run_id]

    # What it comes to

    @property
    def items(self) -> list[ThreadItem]:
        """What the client shows of the answer: without the user's message, and without what was taken back."""
        shown: dict[str, ThreadItem] = {}
        for event in self.events:
            match event:
                case ThreadItemAddedEvent() | ThreadItemDoneEvent() | ThreadItemReplacedEvent():
                    shown[event.item.id] = event.item
                case ThreadItemRemovedEvent():
                    shown.pop(event.item_id, None)
                case ThreadItemUpdatedEvent():
                    self._site.user.server._update_pending_items(shown, event)
                case _:
                    pass
        return [item for item in shown.values() if not isinstance(item, UserMessageItem)]

    @property
    def text(self) -> str:
        """The text of the assistant's messages; an empty line lies between two."""
        messages = (item for item in self.items if isinstance(item, AssistantMessageItem))
        return "\n\n".join("".join(part.text for part in message.content) for message in messages)

    @property
    def widgets(self) -> list[WidgetItem]:
        return [item for item in self.items if isinstance(item, WidgetItem)]

    @property
    def effects(self) -> list[ClientEffectEvent]:
        """The client effects, each with `name` and `data`."""
        return [event for event in self.events if isinstance(event, ClientEffectEvent)]

    @property
    def progress(self) -> list[str]:
        """The texts of the progress updates."""
        return [event.text for event in self.events if isinstance(event, ProgressUpdateEvent)]

    @property
    def notices(self) -> list[NoticeEvent]:
        return [event for event in self.events if isinstance(event, NoticeEvent)]

    @property
    def errors(self) -> list[ErrorEvent]:
        """What the client was shown of errors, each with `code`, `message` and `allow_retry`."""
        return [event for event in self.events if isinstance(event, ErrorEvent)]

    @property
    def tool_call(self) -> ClientToolCallItem | None:
        """The client tool call that waits for its output, with `name` and `arguments`."""
        items = self.items
        last = items[-1] if items else None
        return last if isinstance(last, ClientToolCallItem) and last.status == "pending" else None

    @property
    def questions(self) -> StructuredInputItem | None:
        """The questions that wait for `answer_questions`, in `inputs`."""
        items = self.items
        last = items[-1] if items else None
        return last if isinstance(last, StructuredInputItem) and last.status == "pending" else None

    # What a client does meanwhile, and next

    async def until(self, holds: Callable[[Answer], bool]) -> Answer:
        """Waits until `holds(answer)`. Raises AssertionError where the run ends before that."""
        while not holds(self):
            if self._has_ended:
                raise AssertionError(f"the run ended before that came true: {self!r}")
            await self._news()
        return self

    async def received(self, events: int) -> Answer:
        """Waits until the client has had so many events of an attempt. Those of the admission do not count."""
        return await self.until(lambda _: self._events_of_attempts >= events)

    async def ended(self) -> Answer:
        """Waits for the end of the run. Raises AssertionError where a loss that was asked for did not happen."""
        while not self._has_ended:
            await self._news()
        left = self._site.publisher.losses.pop(self.run_id, None)
        if left is not None:
            raise AssertionError(
                f"lost_after={list(self._lost_after)}: attempt {self.attempts} ended"
                f" after {self._events_of_attempts} events, {left[0]} too early"
            )
        return self

    async def cancel(self) -> Answer:
        """The user's stop, as `POST /runs/{id}/cancel`; waits for the end."""
        await self._sender.cancel(self.run_id)
        return await self.ended()

    async def answer_tool(self, output: Any) -> Answer:
        """What the browser has made of the client tool call; the answer that follows."""
        if self.tool_call is None:
            raise AssertionError(f"no client tool call waits for its output: {self!r}")
        params = {"thread_id": self.thread_id, "result": output}
        return await self._sender.send({"type": "threads.add_client_tool_output", "params": params})

    async def answer_questions(self, answers: Mapping[str, str | Sequence[str]]) -> Answer:
        """What the user says to `questions`, by their texts; one that is not among them is skipped."""
        if self.questions is None:
            raise AssertionError(f"no questions wait for answers: {self!r}")
        known = {asked.question: asked.id for asked in self.questions.inputs}
        if unknown := set(answers) - set(known):
            raise AssertionError(f"the server did not ask {sorted(unknown)}, but {sorted(known)}")
        given = {
            input_id: {"values": [answer] if isinstance(answer, str) else list(answer)}
            if (answer := answers.get(question)) is not None
            else {"skipped": True}
            for question, input_id in known.items()
        }
        params = {"thread_id": self.thread_id, "item_id": self.questions.id, "input": {"answers": given}}
        return await self._sender.send({"type": "threads.add_structured_input", "params": params})

    @property
    def _has_ended(self) -> bool:
        entries = self._site.journals.read_now(self.run_id, START)
        return bool(entries) and entries[-1].field is Field.END

    @property
    def _events_of_attempts(self) -> int:
        entries = self._site.journals.read_now(self.run_id, START)
        return sum(entry.field is Field.EVENT and entry.cursor.attempt > 0 for entry in entries)

    async def _news(self) -> None:
        changed = self._site.journals.changed(self.run_id)
        self._site.check(self.run_id)
        await changed.wait()
