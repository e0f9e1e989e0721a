"""The checks of a chaos run: silent about one that lost nothing, and loud about every single thing that is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from relaykit.shared.journal import Cursor, Entry, Field
from tests.chaos.checks import ANSWER, CLIENT, ENDED, FAILED, SHOWN, STREAM, THREAD, losses, shown_losses
from tests.chaos.frames import Frame
from tests.chaos.harm import Harm
from tests.chaos.record import Evidence, Journal, Outage, RunRow, Turn
from tests.chaos.script import Script

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
FIRST = Script(tag="0.0", items=2, words=2)
SECOND_SCRIPT = Script(tag="0.1", items=1, words=3, revised=True)
THREAD_ID = "thr_1"


def item(kind: str, item_id: str, text: str) -> dict[str, Any]:
    return {"id": item_id, "type": kind, "created_at": "now", "content": [{"text": text}]}


def run_of(script: Script) -> tuple[Turn, RunRow, list[Entry], list[dict[str, Any]]]:
    """An undisturbed run: its client, its row, its journal, its items."""
    tag = script.tag
    asked = item("user_message", f"user {tag}", str(script))
    answers = [item("assistant_message", f"{tag} {n}", script.text(n)) for n in range(script.items)]
    admitted = [{"type": "thread.item.done", "item": asked}]
    produced: list[dict[str, Any]] = []
    for number in range(script.items):
        item_id = f"{tag} {number}"
        produced.append({"type": "thread.item.added", "item": item("assistant_message", item_id, "")})
        for piece in script.pieces(number):
            update = {
                "type": "assistant_message.content_part.text_delta",
                "content_index": 0,
                "delta": piece,
            }
            produced.append({"type": "thread.item.updated", "item_id": item_id, "update": update})
        whole = item("assistant_message", item_id, script.streamed(number))
        produced.append({"type": "thread.item.done", "item": whole})
    if script.revised:
        produced.append({"type": "thread.item.replaced", "item": answers[-1]})
    entries = [Entry(Cursor(0, n), Field.EVENT, dumped(event)) for n, event in enumerate(admitted, 1)]
    entries.append(Entry(Cursor(1, 1), Field.ATTEMPT_START, b""))
    entries += [Entry(Cursor(1, n), Field.EVENT, dumped(event)) for n, event in enumerate(produced, 2)]
    entries.append(Entry(Cursor(1, len(produced) + 2), Field.END, b"completed"))
    frames = [Frame(entry.cursor, entry.payload) for entry in entries if entry.field is Field.EVENT]
    turn = Turn(script, f"key {tag}", THREAD_ID, f"run {tag}", frames, "completed")
    row = RunRow(
        id=f"run {tag}",
        key=f"key {tag}",
        thread_id=THREAD_ID,
        status="completed",
        attempt=1,
        handed_back=0,
        error=None,
        queued_at=NOON,
        started_at=NOON,
        ended_at=NOON + SECOND,
    )
    return turn, row, entries, [asked, *answers]


def dumped(event: dict[str, Any]) -> bytes:
    return json.dumps(event).encode()


@pytest.fixture
def evidence() -> Evidence:
    """Two runs of one thread, of which nothing was lost."""
    found = Evidence([], {THREAD_ID: []}, {}, [], [])
    for script in (FIRST, SECOND_SCRIPT):
        turn, row, entries, items = run_of(script)
        found.turns.append(turn)
        found.rows.append(row)
        found.journals[row.id] = Journal(entries, NOON + 2 * SECOND)
        found.items[THREAD_ID] += items
    return found


def broken(evidence: Evidence) -> set[str]:
    return {loss.check for loss in losses(evidence)}


def test_nothing_lost_is_no_loss(evidence: Evidence) -> None:
    assert losses(evidence) == []


def drop_frame(evidence: Evidence) -> None:
    del evidence.turns[0].frames[3]


def repeat_frame(evidence: Evidence) -> None:
    evidence.turns[0].frames.insert(3, evidence.turns[0].frames[3])


def swap_frames(evidence: Evidence) -> None:
    frames = evidence.turns[0].frames
    frames[3], frames[4] = frames[4], frames[3]


def miss_the_first(evidence: Evidence) -> None:
    del evidence.turns[0].frames[0]


def miss_the_last(evidence: Evidence) -> None:
    evidence.turns[0].frames.pop()


def change_a_byte(evidence: Evidence) -> None:
    frame = evidence.turns[0].frames[3]
    evidence.turns[0].frames[3] = replace(frame, data=frame.data.replace(b'"delta"', b'"delta" '))


def see_another_end(evidence: Evidence) -> None:
    evidence.turns[0].end = "failed"


def lose_the_journal(evidence: Evidence) -> None:
    evidence.journals[evidence.rows[0].id].entries.clear()


def lose_an_entry(evidence: Evidence) -> None:
    del evidence.journals[evidence.rows[0].id].entries[4]


def lose_the_end_entry(evidence: Evidence) -> None:
    evidence.journals[evidence.rows[0].id].entries.pop()


def tell_without_need(evidence: Evidence) -> None:
    evidence.turns[0].told_at = NOON + SECOND
    evidence.turns[0].loaded = evidence.items[THREAD_ID]


@pytest.mark.parametrize(
    "harm",
    [
        drop_frame,
        repeat_frame,
        swap_frames,
        miss_the_first,
        miss_the_last,
        change_a_byte,
        see_another_end,
        lose_the_journal,
        lose_an_entry,
        lose_the_end_entry,
        tell_without_need,
    ],
)
def test_a_stream_that_is_not_the_journal_is_a_loss(
    evidence: Evidence, harm: Callable[[Evidence], None]
) -> None:
    harm(evidence)
    assert STREAM in broken(evidence)


def shows_ledgers(evidence: Evidence, *texts: str) -> Evidence:
    """The evidence with a first run that notes its tag, and whose client is shown these ledgers at its end."""
    turn = evidence.turns[0]
    turn.script = replace(turn.script, tallies=True)
    for number, text in enumerate(texts):
        event = {"type": "thread.item.done", "item": item("assistant_message", f"ledger {number}", text)}
        turn.frames.append(Frame(Cursor(1, 100 + number), dumped(event)))
    return evidence


@pytest.mark.parametrize(
    ("texts", "losses"),
    [
        (["ledger: 0.0"], 0),
        ([], 1),
        (["ledger: 0.1"], 1),
        (["ledger: 0.0 0.0"], 1),
        (["ledger:", "ledger: 0.0"], 1),
    ],
)
def test_a_client_is_left_with_one_ledger_that_has_the_tag_once(
    evidence: Evidence, texts: list[str], losses: int
) -> None:
    found = shows_ledgers(evidence, *texts)
    own = [each for each in found.items[THREAD_ID] if each["id"] in {"user 0.0", "0.0 0", "0.0 1"}]
    assert len([*shown_losses(found.turns[0], own)]) == losses


def test_where_redis_lost_data_a_whole_stream_or_the_truth_is_enough(evidence: Evidence) -> None:
    evidence.data_losses.append(Outage(NOON - SECOND, NOON))
    lose_the_journal(evidence)
    del evidence.journals["run 0.1"].entries[:3]
    assert losses(evidence) == []
    del evidence.turns[0].frames[5:]
    assert SHOWN in broken(evidence)
    tell_without_need(evidence)
    assert losses(evidence) == []


def test_where_redis_lost_data_a_hole_or_another_byte_is_a_loss_still(evidence: Evidence) -> None:
    evidence.data_losses.append(Outage(NOON - SECOND, NOON))
    change_a_byte(evidence)
    assert STREAM in broken(evidence)
    change_a_byte(evidence)
    lose_the_journal(evidence)
    assert losses(evidence) == []
    drop_frame(evidence)
    assert STREAM in broken(evidence)


@pytest.mark.parametrize(("change", "is_lost"), [({"title": "named"}, False), ({"id": "another"}, True)])
def test_where_redis_lost_data_a_thread_is_told_again_with_its_new_title(
    evidence: Evidence, change: dict[str, str], is_lost: bool
) -> None:
    evidence.data_losses.append(Outage(NOON - SECOND, NOON))
    told, again = (
        dumped({"type": "thread.created", "thread": {"id": THREAD_ID} | with_}) for with_ in ({}, change)
    )
    first, entries = evidence.turns[0].frames[0], evidence.journals["run 0.0"].entries
    evidence.turns[0].frames[0] = replace(first, data=told)
    entries[0] = entries[0]._replace(payload=again)
    assert (STREAM in broken(evidence)) is is_lost


@pytest.mark.parametrize("began", [-2, 3])
@pytest.mark.parametrize("harm", [lose_the_journal, tell_without_need])
def test_data_lost_before_or_after_excuses_nothing(
    evidence: Evidence, began: int, harm: Callable[[Evidence], None]
) -> None:
    evidence.data_losses.append(Outage(NOON + began * SECOND, NOON + (began + 1) * SECOND))
    harm(evidence)
    assert STREAM in broken(evidence)


def harm_items(change: Callable[[list[dict[str, Any]]], object]) -> Callable[[Evidence], None]:
    return lambda evidence: (change(evidence.items[THREAD_ID]), None)[1]


@pytest.mark.parametrize(
    ("harm", "check"),
    [
        (harm_items(lambda items: items.pop()), SHOWN),
        (harm_items(lambda items: items.pop()), ANSWER),
        (harm_items(lambda items: items.pop(0)), ANSWER),
        (harm_items(lambda items: items.append(items[-1])), ANSWER),
        (harm_items(lambda items: items.append(items[-1])), THREAD),
        (harm_items(lambda items: items.append(item("user_message", "new", str(FIRST)))), ANSWER),
        (harm_items(lambda items: items.append(item("user_message", "new", str(FIRST)))), SHOWN),
        (harm_items(lambda items: items.append(item("assistant_message", "new", "[9.9#0]"))), THREAD),
        (harm_items(lambda items: items.append(item("widget", "new", ""))), THREAD),
        (harm_items(lambda items: items.reverse()), THREAD),
        (harm_items(lambda items: items.insert(1, items.pop(0))), ANSWER),
        (harm_items(lambda items: items[1].update(created_at="later")), SHOWN),
        (harm_items(lambda items: items[1]["content"][0].update(text="[0.0#0] 7")), ANSWER),
    ],
)
def test_a_thread_that_is_not_what_was_asked_and_shown_is_a_loss(
    evidence: Evidence, harm: Callable[[Evidence], None], check: str
) -> None:
    harm(evidence)
    assert check in broken(evidence)


def test_an_error_event_is_a_loss(evidence: Evidence) -> None:
    frames, journal = evidence.turns[0].frames, evidence.journals["run 0.0"].entries
    error = dumped({"type": "error"})
    frames[-1] = replace(frames[-1], data=error)
    journal[-2] = journal[-2]._replace(payload=error)
    assert SHOWN in broken(evidence)


def cancelled(evidence: Evidence, text: str, *, asked: bool = True) -> Evidence:
    """The second run, stopped when its client had read this much of its one item."""
    turn, row = evidence.turns[1], evidence.rows[1]
    begun, one = turn.frames[:2], item("assistant_message", "0.1 0", text)
    update = {"type": "assistant_message.content_part.text_delta", "content_index": 0, "delta": text}
    delta = dumped({"type": "thread.item.updated", "item_id": "0.1 0", "update": update})
    turn.frames = [*begun, Frame(Cursor(1, 3), delta)] if text else begun
    turn.end, turn.stop_asked = "cancelled", asked
    evidence.rows[1] = replace(row, status="cancelled")
    entries = evidence.journals[row.id].entries
    entries[3:] = [
        *[Entry(frame.cursor, Field.EVENT, frame.data) for frame in turn.frames[2:]],
        Entry(Cursor(1, len(turn.frames) + 1), Field.END, b"cancelled"),
    ]
    evidence.items[THREAD_ID][4:] = [one] if text else []
    return evidence


@pytest.mark.parametrize("text", ["", "[0.1#0]", "[0.1#0] 1", "[0.1#0] 1 2"])
def test_a_stopped_run_keeps_a_beginning(evidence: Evidence, text: str) -> None:
    assert losses(cancelled(evidence, text)) == []


def test_a_stopped_run_that_keeps_anything_else_is_a_loss(evidence: Evidence) -> None:
    assert broken(cancelled(evidence, "[0.1#0] 2")) == {ANSWER}


def test_a_stop_that_nobody_asked_for_is_a_loss(evidence: Evidence) -> None:
    assert broken(cancelled(evidence, "[0.1#0]", asked=False)) == {ANSWER}


def test_a_message_that_was_stopped_while_it_waited_stands_where_it_came(evidence: Evidence) -> None:
    cancelled(evidence, "")
    evidence.rows[1] = replace(evidence.rows[1], started_at=None)
    items = evidence.items[THREAD_ID]
    items.insert(1, items.pop())
    assert losses(evidence) == []
    evidence.rows[1] = replace(evidence.rows[1], started_at=NOON)
    assert broken(evidence) == {THREAD}


@pytest.mark.parametrize(
    ("change", "check"),
    [
        ({"status": "running"}, ENDED),
        ({"status": "waiting"}, ENDED),
        ({"status": "failed", "error": "internal"}, FAILED),
        ({"key": "nobody's"}, THREAD),
        ({"key": "nobody's"}, ENDED),
        ({"id": "run 7"}, ENDED),
    ],
)
def test_a_row_that_is_not_what_was_accepted_is_a_loss(
    evidence: Evidence, change: dict[str, Any], check: str
) -> None:
    evidence.rows[0] = replace(evidence.rows[0], **change)
    evidence.journals[evidence.rows[0].id] = evidence.journals["run 0.0"]
    assert check in broken(evidence)


def test_a_client_without_an_end_is_a_loss(evidence: Evidence) -> None:
    evidence.turns[0].end = None
    assert broken(evidence) == {CLIENT}


def test_a_client_that_was_refused_is_a_loss(evidence: Evidence) -> None:
    evidence.turns[0].complaint = "404"
    assert broken(evidence) == {CLIENT}


def failing(harm: Harm = Harm.PANIC) -> Evidence:
    """A run whose server raised what is no Exception after its first item."""
    script = Script(tag="0.0", items=2, words=2, harm=harm)
    turn, row, entries, items = run_of(script)
    first = next(
        n for n, entry in enumerate(entries) if b"0.0 0" in entry.payload and b"item.done" in entry.payload
    )
    cursor = entries[first].cursor
    error = Entry(
        Cursor(cursor.attempt, cursor.seq + 1), Field.EVENT, dumped({"type": "error", "code": "stream.error"})
    )
    end = Entry(Cursor(cursor.attempt, cursor.seq + 2), Field.END, b"failed")
    kept = [*entries[: first + 1], error, end]
    turn.frames = [Frame(entry.cursor, entry.payload) for entry in kept if entry.field is Field.EVENT]
    turn.end = "failed"
    row = replace(row, status="failed", error="stream.error")
    return Evidence([row], {THREAD_ID: items[:2]}, {row.id: Journal(kept, NOON)}, [], [turn])


@pytest.mark.parametrize("harm", [harm for harm in Harm if harm.fails_the_run])
def test_a_run_that_is_to_fail_may_fail_with_what_it_had_stored(harm: Harm) -> None:
    assert losses(failing(harm)) == []


@pytest.mark.parametrize("changes", [{"status": "completed", "error": None}, {"error": "attempts_exhausted"}])
def test_a_run_that_is_to_fail_fails_with_its_own_error(changes: dict[str, Any]) -> None:
    evidence = failing()
    evidence.rows = [replace(evidence.rows[0], **changes)]
    assert FAILED in {loss.check for loss in losses(evidence)}
