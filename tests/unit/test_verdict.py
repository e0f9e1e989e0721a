"""What an attempt has come to: the whole table, one line a case."""

from __future__ import annotations

import pytest

from relaykit.shared.runs.run import TRANSITIONS, Status
from relaykit.worker.execution.stop import Stop
from relaykit.worker.execution.verdict import EXHAUSTED, HANDED_BACK, LOST, Exit, Result, Verdict, decide

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
    Result(Exit.SERVED): (COMPLETED, CANCELLED, TIMEOUT, ABANDONED, LOST),
    Result(Exit.SERVED, "stream.error"): (SERVER_ERROR, CANCELLED, TIMEOUT, ABANDONED, LOST),
    Result(Exit.FAILED, "internal"): (INTERNAL, CANCELLED, TIMEOUT, ABANDONED, LOST),
    Result(Exit.REFUSED, "server_refused"): (REFUSED, REFUSED, REFUSED, REFUSED, LOST),
    Result(Exit.EXHAUSTED, EXHAUSTED): (SPENT, SPENT, SPENT, SPENT, LOST),
    Result(Exit.FENCED): (LOST, LOST, LOST, LOST, LOST),
}
CASES = [
    (result, stop, verdict)
    for result, verdicts in TABLE.items()
    for stop, verdict in zip(STOPS, verdicts, strict=True)
]


@pytest.mark.parametrize("allows_another", [True, False])
@pytest.mark.parametrize(("result", "stop", "verdict"), CASES)
def test_an_attempt_comes_to(
    result: Result, stop: Stop | None, verdict: Verdict, allows_another: bool
) -> None:
    """Whether the run may be executed again is asked by a drain alone."""
    assert decide(result, stop, allows_another=allows_another) == verdict


@pytest.mark.parametrize("result", TABLE)
def test_a_drain_hands_back_what_may_be_executed_again_and_ends_the_rest(result: Result) -> None:
    is_fenced = result.exit is Exit.FENCED
    assert decide(result, Stop.DRAIN, allows_another=True) == (LOST if is_fenced else HANDED_BACK)
    assert decide(result, Stop.DRAIN, allows_another=False) == (LOST if is_fenced else INTERRUPTED)


def test_every_exit_and_stop_is_in_the_table() -> None:
    assert {result.exit for result in TABLE} == set(Exit)
    assert {*STOPS, Stop.DRAIN} == {None, *Stop}


def test_every_verdict_is_a_state_that_a_running_run_may_come_to() -> None:
    statuses = {verdict.status for verdicts in TABLE.values() for verdict in verdicts} | {HANDED_BACK.status}
    assert statuses == TRANSITIONS[Status.RUNNING]
