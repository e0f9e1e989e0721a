"""An attempt's span, in the trace of the POST that its run came with.

A span is sent when it ends, and a worker that is killed ends none. So the next attempt tells of the one that was lost:
an attempt's span id is made from its run and its number, and the spans below it, which were sent before, find it there.
An attempt that has lost its lease sends no span of its own, because the next one has told of it.
"""

from __future__ import annotations

import time
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from relaykit.shared.log import who
from relaykit.shared.tracing.spans import carrier_in, tracing
from relaykit.worker.execution.verdict import HANDED_BACK, Outcome, Verdict

if TYPE_CHECKING:
    from relaykit.shared.tracing.otel import Otel, Span
    from relaykit.worker.execution.attempt import Attempt
    from relaykit.worker.leases.claims import Claim

SECOND_NS = 1_000_000_000


class AttemptTrace:
    """The span of one attempt, of what it publishes, and of the SDK's spans below it."""

    __slots__ = ("_otel", "_publish", "_span", "context", "of_sdk")

    def __init__(self, otel: Otel, attempt: Attempt, claim: Claim | None) -> None:
        from relaykit.shared.tracing.otel import SpanKind, context_of, span_context_of, within

        run, began = attempt.run, attempt.run.began
        carrier = carrier_in(run.context)
        post, now = context_of(carrier), time.time_ns()
        sent_by = span_context_of(carrier)
        self._otel = otel
        self.of_sdk: dict[str, Span | None] = {}
        """The spans of the agents SDK that have begun, by their ids there; None for those that are left out."""
        if sent_by is not None and began is not None:
            if began.due_seconds is not None:
                due = now - _ns(began.due_seconds)
                otel.start("queue", parent=post, start_ns=due).end(now)
            if began.cause == "lost":
                self._tell_lost(attempt, claim, now)
        cause = "" if began is None else began.cause
        self._span = otel.start(
            "attempt",
            parent=post,
            kind=SpanKind.CONSUMER,
            attributes={
                **_of_run(attempt),
                "relaykit.attempt": run.attempt,
                "relaykit.attempt.cause": cause,
                "relaykit.worker.id": "" if claim is None else claim.process,
            },
            span_id=None if sent_by is None else _span_id(sent_by.trace_id, run.id, run.attempt),
        )
        self.context = within(self._span, post)
        self._publish = otel.start("publish", parent=self.context)
        otel.enter(self.context)

    def start(self, name: str, parent: Span | None, **attributes: Any) -> Span:
        """A span below that of the attempt, or below one of its own."""
        from relaykit.shared.tracing.otel import within

        context = self.context if parent is None else within(parent, self.context)
        return self._otel.start(name, parent=context, attributes=attributes)

    @property
    def captures_content(self) -> bool:
        return self._otel.captures_content

    def end(self, attempt: Attempt, outcome: Outcome, verdict: Verdict) -> None:
        """Sends what the attempt has come to; nothing of one whose run is another attempt's."""
        from relaykit.shared.tracing.otel import fail_as

        is_handed_back = verdict == HANDED_BACK
        if outcome is not Outcome.DONE and not is_handed_back:
            return
        self._publish.set_attribute("relaykit.entries", attempt.journal.entries)
        self._publish.end()
        self._span.set_attribute(
            "relaykit.attempt.end", "handed_back" if is_handed_back else verdict.status.value
        )
        if verdict.error is not None:
            fail_as(self._span, verdict.error)
        self._span.end()

    def _tell_lost(self, attempt: Attempt, claim: Claim | None, now: int) -> None:
        """It ended, for all that is known, with its lease. When the first attempt began is known, a later one's not."""
        from relaykit.shared.tracing.otel import SpanKind, context_of, fail_as, span_context_of

        run, number = attempt.run, attempt.run.attempt - 1
        carrier = carrier_in(run.context)
        sent_by = span_context_of(carrier)
        assert sent_by is not None
        assert run.began is not None
        ended = now if claim is None else now - _ns(claim.lapsed_seconds)
        started = now - _ns(run.began.started_seconds) if number == 1 else ended
        lost_by = "" if claim is None or claim.loss is None else claim.loss.process
        lost = self._otel.start(
            "attempt",
            parent=context_of(carrier),
            kind=SpanKind.CONSUMER,
            attributes={
                **_of_run(attempt),
                "relaykit.attempt": number,
                "relaykit.attempt.end": "lost",
                "relaykit.worker.id": lost_by,
                **({"relaykit.attempt.cause": "first"} if number == 1 else {}),
            },
            start_ns=min(started, ended),
            span_id=_span_id(sent_by.trace_id, run.id, number),
        )
        fail_as(lost, "lost")
        lost.end(ended)


def begin_trace(attempt: Attempt, claim: Claim | None) -> AttemptTrace | None:
    """Begins the span of an attempt whose task this is; None where this process makes no traces."""
    otel = tracing()
    return None if otel is None else AttemptTrace(otel, attempt, claim)


def end_trace(attempt: Attempt, outcome: Outcome, verdict: Verdict) -> None:
    if attempt.trace is not None:
        attempt.trace.end(attempt, outcome, verdict)


def _span_id(trace_id: int, run_id: str, attempt: int) -> int:
    """The same in every process, and never 0, which is no id."""
    digest = sha256(f"{trace_id:032x} {run_id} {attempt}".encode()).digest()
    return int.from_bytes(digest[:8], "big") or 1


def _of_run(attempt: Attempt) -> dict[str, str | int]:
    run = attempt.run
    owner = {f"relaykit.{name}": value for name, value in who(run.owner).items()}
    return {
        "relaykit.run.id": run.id,
        "relaykit.run.kind": run.kind.value,
        "gen_ai.conversation.id": run.thread_id,
        **owner,
    }


def _ns(seconds: float) -> int:
    return int(max(0.0, seconds) * SECOND_NS)
