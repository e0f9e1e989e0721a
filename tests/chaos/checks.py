"""What must hold when everything is over: the evidence in, the losses out. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise

from relaykit.shared.journal import Cursor, Entry, Field
from relaykit.shared.runs.run import Status
from tests.chaos.changes import (
    CALLS,
    CHANGES,
    TITLE,
    call_losses,
    change_losses,
    served_order,
    title_losses,
)
from tests.chaos.fold import FoldError, Item, fold, normal
from tests.chaos.frames import described
from tests.chaos.record import Evidence, Journal, Loss, Outage, RunRow, Turn
from tests.chaos.script import Script, is_ledger, tag_of, text_of

ENDED = "every accepted run has ended"
FAILED = "no run has failed but those that are to"
CLIENT = "every client came to the end of its message"
STREAM = "each client's stream is the journal"
SHOWN = "what a client shows is what the thread holds"
ANSWER = "each answer is the whole scripted one, once"
THREAD = "each thread holds its runs in order, and no more"
PROCESS = "no process ended by itself"
LEFT_OVER = "nothing is left over"

CHECKS = (ENDED, FAILED, CLIENT, STREAM, SHOWN, ANSWER, THREAD, CHANGES, CALLS, TITLE, PROCESS, LEFT_OVER)

FIRST = Cursor(0, 1)
STREAM_ERROR = "stream.error"


def losses(evidence: Evidence) -> list[Loss]:
    """All that was lost, repeated or made up between the clients, the journals and the threads."""
    rows = {row.key: row for row in evidence.rows}
    asked = {turn.key for turn in evidence.turns}
    found: list[Loss] = []
    scripts = {turn.key: turn.script for turn in evidence.turns}
    for row in evidence.rows:
        found += _run_losses(row, scripts.get(row.key or ""))
        if row.key not in asked:
            found.append(Loss(THREAD, row.id, "nobody asked for this run"))
    for turn in evidence.turns:
        found += _client_losses(turn)
        row_or_none = rows.get(turn.key)
        if row_or_none is None:
            found.append(Loss(ENDED, _name(turn), "there is no run for it"))
            continue
        journal = evidence.journals[row_or_none.id]
        items = evidence.items.get(row_or_none.thread_id, [])
        own = [item for item in items if tag_of(item) == turn.script.tag]
        found += _status_losses(turn, row_or_none)
        found += stream_losses(turn, row_or_none, journal, evidence.data_losses)
        found += shown_losses(turn, own)
        found += answer_losses(turn.script, row_or_none, own)
    found += thread_losses(evidence)
    found += change_losses(evidence)
    found += call_losses(evidence)
    found += title_losses(evidence)
    return found


def _run_losses(row: RunRow, script: Script | None) -> Iterator[Loss]:
    if not Status(row.status).ended:
        yield Loss(ENDED, row.id, f"is {row.status} in attempt {row.attempt}")
    fails = script is not None and script.fails
    if fails and row.status == Status.COMPLETED:
        yield Loss(FAILED, row.id, "completed, and its server had raised what is no Exception")
    elif row.status == Status.FAILED and not (fails and row.error == STREAM_ERROR):
        yield Loss(FAILED, row.id, f"failed with {row.error} in attempt {row.attempt}")


def _client_losses(turn: Turn) -> Iterator[Loss]:
    if turn.complaint is not None:
        yield Loss(CLIENT, _name(turn), turn.complaint)
    elif turn.end is None:
        yield Loss(CLIENT, _name(turn), "has no end")


def _status_losses(turn: Turn, row: RunRow) -> Iterator[Loss]:
    if turn.run_id not in (None, row.id):
        yield Loss(ENDED, row.id, f"the client was given {turn.run_id}")
    if turn.end not in (None, row.status):
        yield Loss(STREAM, row.id, f"the client saw the end as {turn.end}, the row is {row.status}")
    if row.status == Status.CANCELLED and not turn.stop_asked:
        yield Loss(ANSWER, row.id, "was cancelled, and nobody asked for that")


# --- the stream


def stream_losses(turn: Turn, row: RunRow, journal: Journal, data_losses: list[Outage]) -> Iterator[Loss]:
    """What came against the journal: byte for byte where it is whole, on what both have where Redis lost data.

    A client whose journal was lost has everything, or was told by 410. In one that was written again the thread has the
    title that it has by then.
    """
    cursors = [frame.cursor for frame in turn.frames]
    if cursors and cursors[0] != FIRST:
        yield Loss(STREAM, row.id, f"begins with {cursors[0]}")
    for number, (one, next_one) in enumerate(pairwise(cursors)):
        if not follows(one, next_one):
            around = described(turn.frames, number)
            yield Loss(STREAM, row.id, f"{next_one} came after {one}: {around}")
    if turn.told_at is not None:
        if not any(outage.within(row.queued_at, turn.told_at) for outage in data_losses):
            yield Loss(STREAM, row.id, "the client was told of a lost journal, and Redis had lost nothing")
        return
    events = [(entry.cursor, entry.payload) for entry in journal.entries if entry.field is Field.EVENT]
    came = [(frame.cursor, frame.data) for frame in turn.frames]
    if any(outage.within(row.queued_at, journal.read_at) for outage in data_losses):
        held = dict(events)
        for cursor, data in came:
            if cursor in held and _but_for_a_title(held[cursor]) != _but_for_a_title(data):
                yield Loss(STREAM, row.id, f"at {cursor} came {data!r}, the journal has {held[cursor]!r}")
    elif not is_whole(journal.entries):
        yield Loss(STREAM, row.id, f"Redis lost nothing, and the journal is {_outline(journal.entries)}")
    elif turn.end is not None and came != events:
        yield Loss(STREAM, row.id, f"not the journal: {_difference(came, events)}")


def _but_for_a_title(data: bytes) -> bytes:
    """The event, without the title where it tells of a new thread."""
    event = json.loads(data)
    if event["type"] != "thread.created":
        return data
    event["thread"].pop("title", None)
    return json.dumps(event).encode()


def follows(one: Cursor, next_one: Cursor) -> bool:
    """Whether a client may see the second right after the first: an attempt start is its seq 1 and not shown."""
    if next_one.attempt == one.attempt:
        return next_one.seq == one.seq + 1
    return next_one.attempt > one.attempt and next_one.seq in (1, 2)


def is_whole(journal: list[Entry]) -> bool:
    """From the first entry to the end entry, no seq left out."""
    if not journal or journal[0].cursor != FIRST or journal[-1].field is not Field.END:
        return False
    return all(
        two.cursor.seq == (one.cursor.seq + 1 if two.cursor.attempt == one.cursor.attempt else 1)
        for one, two in pairwise(journal)
    )


def _outline(journal: list[Entry]) -> str:
    if not journal:
        return "gone"
    return f"{journal[0].cursor} to {journal[-1].cursor} ({len(journal)} entries, last {journal[-1].field})"


def _difference(came: list[tuple[Cursor, bytes]], events: list[tuple[Cursor, bytes]]) -> str:
    for one, other in zip(came, events, strict=False):
        if one != other:
            return f"came {one}, the journal has {other}"
    extra, side = (
        (came[len(events) :], "came") if len(came) > len(events) else (events[len(came) :], "missed")
    )
    return f"{side} {[str(cursor) for cursor, _ in extra[:5]]} ({len(extra)})"


# --- the items


def shown_losses(turn: Turn, own: list[Item]) -> Iterator[Loss]:
    """The items that the client shows for its message against those of the thread, whole and by id."""
    if turn.end is None:
        return
    stored = {item["id"]: normal(item) for item in own}
    try:
        if turn.told_at is not None:
            loaded = [item for item in turn.loaded or () if tag_of(item) == turn.script.tag]
            shown = {item["id"]: normal(item) for item in loaded}
        else:
            folded = fold(frame.data for frame in turn.frames)
            shown = {item_id: normal(item) for item_id, item in folded.shown().items()}
            if folded.errors != int(turn.script.fails and turn.end == Status.FAILED):
                yield Loss(SHOWN, _name(turn), f"{folded.errors} error events")
            notes = [tag for text in folded.ledgers.values() for tag in text.split()].count(turn.script.tag)
            most = 1 + (turn.script.renews and turn.end == Status.CANCELLED)
            if len(folded.ledgers) > most or notes > 1:
                yield Loss(SHOWN, _name(turn), f"shows the ledgers {[*folded.ledgers.values()]}")
            elif turn.script.tallies and turn.end == Status.COMPLETED and notes == 0:
                yield Loss(
                    SHOWN, _name(turn), f"has ended, and shows the ledgers {[*folded.ledgers.values()]}"
                )
    except FoldError as error:
        yield Loss(SHOWN, _name(turn), str(error))
        return
    for item_id in shown.keys() | stored.keys():
        one, other = shown.get(item_id), stored.get(item_id)
        if one != other:
            yield Loss(SHOWN, _name(turn), f"shows {_brief(one)}, the thread holds {_brief(other)}")


def answer_losses(script: Script, row: RunRow, own: list[Item]) -> Iterator[Loss]:
    """The message once; the answer as scripted, once; after a stop a beginning of it."""
    messages = [item for item in own if item["type"] == "user_message"]
    if script.is_after_call:
        if messages:
            yield Loss(ANSWER, row.id, "the output of a call is stored as a message")
    elif [text_of(item) for item in messages] != [str(script)]:
        yield Loss(ANSWER, row.id, f"the message is stored {len(messages)} times")
    elif own[0] is not messages[0]:
        yield Loss(ANSWER, row.id, "the answer stands before the message")
    texts = [text_of(item) for item in own if item["type"] == "assistant_message"]
    match row.status:
        case Status.COMPLETED if texts != script.texts:
            yield Loss(ANSWER, row.id, f"completed with {texts}")
        case Status.CANCELLED if not is_beginning(texts, script):
            yield Loss(ANSWER, row.id, f"cancelled with {texts}")
        case Status.FAILED if script.fails and texts != [script.streamed(0)]:
            yield Loss(ANSWER, row.id, f"failed with {texts}")
        case _:
            pass


def is_beginning(texts: list[str], script: Script) -> bool:
    if len(texts) > script.items:
        return False
    whole = [script.text(number) for number in range(len(texts))]
    return texts[:-1] == whole[:-1] and (not texts or whole[-1].startswith(texts[-1]))


def thread_losses(evidence: Evidence) -> Iterator[Loss]:
    """Each thread is its runs one after the other. A message that was stopped while it waited stands where it came."""
    started = {row.key for row in evidence.rows if row.started_at is not None}
    scripts = {turn.key: turn.script.tag for turn in evidence.turns}
    known = set(scripts.values())
    order: dict[str, list[str]] = {}
    for row in evidence.rows:
        if row.key in started and row.key in scripts:
            order.setdefault(row.thread_id, []).append(scripts[row.key])
    for thread_id, items in evidence.items.items():
        ids = [item["id"] for item in items]
        if len(set(ids)) < len(ids):
            yield Loss(THREAD, thread_id, "holds an item twice")
        for item in items:
            if tag_of(item) not in known and not is_ledger(item):
                yield Loss(THREAD, thread_id, f"holds what nobody asked for: {_brief(item)}")
        runs = served_order(order.get(thread_id, []))
        tags = [tag for item in items if (tag := tag_of(item)) in runs]
        if tags != sorted(tags, key=runs.index):
            yield Loss(THREAD, thread_id, f"its runs came as {runs}, its items stand as {tags}")


def _brief(item: Item | None) -> str:
    if item is None:
        return "nothing"
    return f"{item['type']} {item['id'][-8:]} {text_of(item)[:60]!r} at {item['created_at']}"


def _name(turn: Turn) -> str:
    return f"{turn.run_id or 'no run'} ({turn.script.tag})"
