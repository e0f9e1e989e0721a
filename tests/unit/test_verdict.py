"""What an attempt has come to: the whole table, one line a case."""

from __future__ import annotations

import pytest

from relaykit.shared.runs.run import TRANSITIONS, Status
from relaykit.worker.execution.stop import Stop
from relaykit.worker.execution.verdict import EXHAUSTED, HANDED_BACK, LOST, End, Ending, Verdict, decide

COMPLETED = Verdict(Status.COMPLETED)
CANCELLED = Verdict(Status.CANCELLED)
ABANDONED = Verdict(Status.CANCELLED, "abandoned")
TIMEOUT = Verdict(Status.FAILED, "timeout", shows_error=True)
INTERRUPTED = Verdict(Status.FAILED, "interrupted", shows_error=True)
REFUSED = Verdict(Status.FAILED, "server_refused")
SPENT = Verdict(Status.FAILED, EXHAUSTED)
SERVER_ERROR = Verdict(Status.FAILED, "stream.error")
INTERNAL = Verdict(Status.FAILED, "internal", shows_error=True)

# by the stop: none, the user's, a time-out, abandoned, a lost lease
STOPS = (None, Stop.USER, Stop.TIMEOUT, Stop.ABANDONED, Stop.LOST)
TABLE = {
    Ending(End.SERVED): (COMPLETED, CANCELLED, TIMEOUT, ABANDONED, LOST),
    Ending(End.SERVED, "stream.error"): (SERVER_ERROR, CANCELLED, TIMEOUT, ABANDONED, LOST),
    Ending(End.FAILED, "internal"): (INTERNAL, CANCELLED, TIMEOUT, ABANDONED, LOST),
    Ending(End.REFUSED, "server_refused"): (REFUSED, REFUSED, REFUSED, REFUSED, LOST),
    Ending(End.EXHAUSTED, EXHAUSTED): (SPENT, SPENT, SPENT, SPENT, LOST),
    Ending(End.FENCED): (LOST, LOST, LOST, LOST, LOST),
}
CASES = [
    (ending, stop, verdict)
    for ending, verdicts in TABLE.items()
    for stop, verdict in zip(STOPS, verdicts, strict=True)
]


@pytest.mark.parametrize("allows_another", [True, False])
@pytest.mark.parametrize(("ending", "stop", "verdict"), CASES)
def test_an_attempt_comes_to(
    ending: Ending, stop: Stop | None, verdict: Verdict, allows_another: bool
) -> None:
    """Whether the run may be executed again is asked by a drain alone."""
    assert decide(ending, stop, allows_another=allows_another) == verdict


@pytest.mark.parametrize("ending", TABLE)
def test_a_drain_hands_back_what_may_be_executed_again_and_ends_the_rest(ending: Ending) -> None:
    is_fenced = ending.end is End.FENCED
    assert decide(ending, Stop.DRAIN, allows_another=True) == (LOST if is_fenced else HANDED_BACK)
    assert decide(ending, Stop.DRAIN, allows_another=False) == (LOST if is_fenced else INTERRUPTED)


def test_every_ending_and_stop_is_in_the_table() -> None:
    assert {ending.end for ending in TABLE} == set(End)
    assert {*STOPS, Stop.DRAIN} == {None, *Stop}


def test_every_verdict_is_a_state_that_a_running_run_may_come_to() -> None:
    statuses = {verdict.status for verdicts in TABLE.values() for verdict in verdicts} | {HANDED_BACK.status}
    assert statuses == TRANSITIONS[Status.RUNNING]
