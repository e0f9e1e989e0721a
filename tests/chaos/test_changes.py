"""The checks of what runs change of their thread: silent about what is right, and loud about every single fault."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.chaos.changes import CALLS, CHANGES, TITLE, call_losses, change_losses, served_order, title_losses
from tests.chaos.record import Evidence, Turn
from tests.chaos.script import CALL, LEDGER, TALLY, Script
from tests.chaos.test_checks import NOON, THREAD_ID, item, run_of

SCRIPTS = (Script(tag="0.0", tallies=True), Script(tag="0.1", tallies=True), Script(tag="0.2"))


def evidence_of(tags: list[str], ledger: list[str], title: str | None = None) -> Evidence:
    runs = [run_of(script) for script in SCRIPTS]
    text = " ".join([LEDGER, *ledger])
    thread: dict[str, Any] = {"title": title, "metadata": {TALLY: tags}}
    return Evidence(
        rows=[row for _, row, _, _ in runs],
        items={THREAD_ID: [item("assistant_message", "ledger", text)]},
        journals={},
        data_losses=[],
        turns=[turn for turn, _, _, _ in runs],
        threads={THREAD_ID: thread},
    )


def named(turn: Turn, title: str, at: float) -> Turn:
    return replace(turn, title=title, titled_at=at)


def test_each_change_once_is_no_loss() -> None:
    assert not [*change_losses(evidence_of(["0.0", "0.1"], ["0.0", "0.1"]))]


@pytest.mark.parametrize(
    ("tags", "why"),
    [
        (["0.0"], "['0.1'] are missing"),
        (["0.0", "0.1", "0.1"], "['0.1'] stand there more than once"),
        (["0.1", "0.0"], "the runs came as ['0.0', '0.1']"),
        (["0.0", "0.1", "0.2"], "['0.2'] are of no run that was asked to note itself"),
    ],
)
def test_a_change_that_is_lost_repeated_misplaced_or_made_up_is_told(tags: list[str], why: str) -> None:
    right = ["0.0", "0.1"]
    (metadata,) = change_losses(evidence_of(tags, right))
    (ledger,) = change_losses(evidence_of(right, tags))
    assert metadata.check == ledger.check == CHANGES
    assert metadata.why.endswith(why)
    assert why in ledger.why


def test_a_stopped_run_may_have_made_its_change_or_not() -> None:
    found = evidence_of(["0.0"], ["0.0", "0.1"])
    found.rows[1] = replace(found.rows[1], status="cancelled", ended_at=NOON)
    assert not [*change_losses(found)]


@pytest.mark.parametrize(
    ("renews", "status", "losses"),
    [(True, "cancelled", 0), (False, "cancelled", 1), (True, "completed", 1)],
)
@pytest.mark.parametrize("older", ["ledger: 0.0", "ledger: 0.1"])
def test_a_run_that_was_stopped_while_it_renewed_the_ledger_may_have_left_the_older_one(
    older: str, renews: bool, status: str, losses: int
) -> None:
    found = evidence_of(["0.0", "0.1"], ["0.0", "0.1"])
    found.items[THREAD_ID].append(item("assistant_message", "older", older))
    found.turns[1] = replace(found.turns[1], script=replace(found.turns[1].script, renews=renews))
    found.rows[1] = replace(found.rows[1], status=status)
    assert len([*change_losses(found)]) == losses


def test_a_thread_without_its_ledger_is_told() -> None:
    found = evidence_of(["0.0", "0.1"], [])
    del found.items[THREAD_ID][:]
    (loss,) = change_losses(found)
    assert loss.check == CHANGES


@pytest.mark.parametrize("title", ["mine", "automatic 0.0"])
def test_the_last_title_of_the_users_and_an_automatic_one_without_any_are_no_loss(title: str) -> None:
    found = evidence_of(["0.0", "0.1"], ["0.0", "0.1"], title)
    if title == "mine":
        found.turns[0] = named(found.turns[0], "mine", 2.0)
        found.turns[1] = named(found.turns[1], "older", 1.0)
    assert not [*title_losses(found)]


@pytest.mark.parametrize("title", [None, "automatic 0.0", "older"])
def test_a_title_of_the_users_that_is_gone_is_told(title: str | None) -> None:
    found = evidence_of(["0.0", "0.1"], ["0.0", "0.1"], title)
    found.turns[0] = named(found.turns[0], "mine", 2.0)
    found.turns[1] = named(found.turns[1], "older", 1.0)
    (loss,) = title_losses(found)
    assert loss.check == TITLE


@pytest.mark.parametrize(("unanswered", "losses"), [([], 1), (["ReadTimeout"], 0)])
def test_an_older_title_is_told_unless_a_try_to_give_it_had_no_answer(
    unanswered: list[str], losses: int
) -> None:
    found = evidence_of(["0.0", "0.1"], ["0.0", "0.1"], "older")
    found.turns[0] = named(found.turns[0], "mine", 2.0)
    found.turns[1] = replace(named(found.turns[1], "older", 1.0), title_unanswered=unanswered)
    assert len([*title_losses(found)]) == losses


def test_a_title_that_nobody_gave_is_told() -> None:
    (loss,) = title_losses(evidence_of(["0.0", "0.1"], ["0.0", "0.1"], "made up"))
    assert loss.why == "is 'made up', which nobody called it"


def called(status: str, output: dict[str, str] | None, *, is_answered: bool) -> Evidence:
    script = Script(tag="0.0", calls=True)
    turn, row, _, _ = run_of(script)
    call = {
        "id": "call",
        "type": CALL,
        "arguments": {"script": str(script)},
        "status": status,
        "output": output,
    }
    answer = replace(turn, script=script.after_call, key="answer", call_id="call")
    return Evidence(
        rows=[row],
        items={THREAD_ID: [call]},
        journals={},
        data_losses=[],
        turns=[turn, answer] if is_answered else [turn],
    )


def test_a_call_that_has_its_output_or_was_given_up_is_no_loss() -> None:
    assert not [*call_losses(called("completed", {"tag": "0.0"}, is_answered=True))]
    assert not [*call_losses(called("completed", {"error": "late"}, is_answered=False))]


@pytest.mark.parametrize(
    ("status", "output", "is_answered"),
    [
        ("pending", None, True),
        ("pending", None, False),
        ("completed", {"error": "late"}, True),
        ("completed", {"tag": "0.1"}, True),
        ("completed", {"tag": "0.0"}, False),
    ],
)
def test_a_call_that_is_pending_or_has_another_output_is_told(
    status: str, output: dict[str, str] | None, is_answered: bool
) -> None:
    (loss,) = call_losses(called(status, output, is_answered=is_answered))
    assert loss.check == CALLS


def test_an_output_is_served_before_the_message_that_came_before_it() -> None:
    assert served_order(["0.0", "0.1", "0.0.output"]) == ["0.0", "0.0.output", "0.1"]
