"""The boundary between owners: a query of a caller's cannot be asked without one. mypy reads this file too."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any, Final, get_type_hints

import pytest

from bench.postgres.statements import found
from relaykit.api.admission.admission_rows import AdmissionRuns
from relaykit.api.auth.identity import Identity
from relaykit.api.relay.liveness_probe import LivenessProbe
from relaykit.shared.attachments.links import Grant
from relaykit.shared.attachments.previews import Previews
from relaykit.shared.endings import Endings
from relaykit.shared.identity import RequestContext
from relaykit.shared.owner import Owner
from relaykit.shared.runs.awaited_calls import AwaitedCalls
from relaykit.shared.runs.rows import Runs
from relaykit.shared.runs.run import Run
from relaykit.worker.execution.attempt_rows import AttemptRuns

ALICE = Owner(tenant="acme", user_id="alice")

OWNED = re.compile(r"\btenant = \$(\d+) AND (?:\w+\.)?owner = \$(\d+)\b")

IN_THE_FUNCTION = "the function takes tenant and owner, and names both"
OF_A_WORKER = "asked by a worker, which serves every owner, with the id of a run that it has claimed"
OF_A_RUN = "asked with a Run, which its owner or a worker has found before"
OF_THE_RELAY = "asked by the relay about the runs that it follows, which their owners have found"
OF_THE_REAPER = "asked by the reaper, which serves every owner"
OF_AN_OPERATOR = (
    "asked by an operator, who sees every owner's: by a command, or by a route that wants OPS_CLAIM"
)
OF_A_LINK = "asked with the id in a link, whose signature names the owner of the row that is found"
OF_AN_IMPORT = "inserts for the tenant and owner, and writes over nothing"
OF_AN_UPLOAD = "asked with an attachment that was found before, by its owner or by a signed link"

WITHOUT_OWNER: Final[dict[str, str]] = {
    "runs.statements.FINISH_ALONE": IN_THE_FUNCTION,
    "attachments.store._CREATE": IN_THE_FUNCTION,
    "postgres.locks.THREAD_LOCK": "the lock's name is made of tenant, owner and thread",
    "threads.undo_statements.PUT_BACK_ITEMS": "inserts with tenant and owner what its run has kept",
    "execution.attempt_rows.START": OF_A_WORKER,
    "execution.attempt_rows.STATUS": OF_A_WORKER,
    "execution.attempt_rows.FORBID_NEXT_ATTEMPT": OF_A_WORKER,
    "runs.statements.FINISH": OF_A_RUN,
    "execution.attempt_rows.HAND_BACK": OF_A_RUN,
    "runs.statements.REQUEST_CANCEL": OF_A_RUN,
    "runs.statements.SET_ANCHOR": OF_A_RUN,
    "runs.statements.SET_INPUT": OF_A_RUN,
    "runs.awaited_calls.FINISH_AWAITING": OF_A_RUN,
    "relay.liveness_probe.STATUSES": OF_THE_RELAY,
    "api.receipts.NOTE_RECEIVED": "an API notes which of the runs that it follows a client has had something of",
    "api.redis_reach.TELL": "a time, of the deployment's APIs",
    "api.redis_reach.LOOK": "a time, of the deployment's APIs",
    "attachments.objects._NOTED_GARBAGE": "keys of objects that the sweep has taken from the same table",
    "operating.database_figures.STATE": "counts of sessions, for an operator",
    "operating.queue_figures.UNFINISHED": "counts alone, of the whole deployment, for its operator",
    "operating.queue_figures.BUSIEST": OF_AN_OPERATOR,
    "operating.run_lists.BY_STATUS": OF_AN_OPERATOR,
    "operating.run_lists.BY_TENANT": OF_AN_OPERATOR,
    "operating.run_lists.BY_USER": OF_AN_OPERATOR,
    "operating.run_lists.BY_THREAD": OF_AN_OPERATOR,
    "operating.run_lists.BY_ERROR": OF_AN_OPERATOR,
    "operating.run_lists.BY_ID": OF_AN_OPERATOR,
    "operating.run_lists.ENDED_LATELY": OF_AN_OPERATOR,
    "operating.run_details.FIND": OF_AN_OPERATOR,
    "operating.run_details.ROW": OF_AN_OPERATOR,
    "operating.run_details.CONTENT": OF_AN_OPERATOR,
    "operating.thread_reading.OWNER_OF_THREAD": OF_AN_OPERATOR,
    "operating.thread_reading.OWNERS_OF_RUNS": OF_AN_OPERATOR,
    "operating.erasure.COUNT_LEFT": OF_AN_OPERATOR,
    "operating.erasure.NOTE_GONE_RUNS": OF_AN_OPERATOR,
    "operating.acts.CANCEL": OF_AN_OPERATOR,
    "operating.audit.NOTE": OF_AN_OPERATOR,
    "operating.audit.SET_OUTCOME": OF_AN_OPERATOR,
    "operating.audit.ON_TARGET": OF_AN_OPERATOR,
    "operating.audit.NEWEST": OF_AN_OPERATOR,
    "reaper.sweeps.QUEUED": OF_THE_REAPER,
    "reaper.sweeps.RUNNING": OF_THE_REAPER,
    "reaper.sweeps.RUNS": OF_THE_REAPER,
    "reaper.sweeps.STRANDED": OF_THE_REAPER,
    "reaper.sweeps.OVERDUE": OF_THE_REAPER,
    "reaper.sweeps.OLD_RUNS": OF_THE_REAPER,
    "reaper.sweeps.DELETE_RUNS": OF_THE_REAPER,
    "reaper.sweeps.OLD_THREADS": OF_THE_REAPER,
    "reaper.sweeps.LOCK_OLD_THREADS": OF_THE_REAPER,
    "reaper.sweeps.DELETE_THREADS": OF_THE_REAPER,
    "shared.clocks.NOW": "the server's time",
    "shared.gone_runs.DUE": OF_THE_REAPER,
    "shared.gone_runs.FORGET": OF_THE_REAPER,
    "shared.gone_runs.POSTPONE": OF_THE_REAPER,
    "attachments.store._DELETE_UNSENT": OF_THE_REAPER,
    "attachments.store._FORGET_UNSENT": OF_THE_REAPER,
    "attachments.objects._DUE_GARBAGE": OF_THE_REAPER,
    "attachments.objects._FORGET_GARBAGE": OF_THE_REAPER,
    "attachments.objects._POSTPONE_GARBAGE": OF_THE_REAPER,
    "attachments.objects._FIND": OF_A_LINK,
    "attachments.objects._BEGIN": OF_AN_UPLOAD,
    "attachments.objects._COMPLETE": OF_AN_UPLOAD,
    "attachments.objects._RELEASE": OF_AN_UPLOAD,
    "thread_import.rows.INSERT_THREAD": OF_AN_IMPORT,
    "thread_import.rows.WRITE_ITEMS": "writes over an item of the same tenant and owner alone",
    "thread_import.attachments.REGISTER": "writes over an attachment of the same tenant and owner alone",
}
"""Statements that do not compare tenant and owner, and why none of them gives a caller what is another's."""

CALLED_WITHOUT_OWNER: Final[dict[str, str]] = {
    "AttemptRuns.start": OF_A_WORKER,
    "AttemptRuns.status": OF_A_WORKER,
    "AttemptRuns.forbid_next_attempt": OF_A_WORKER,
    "LivenessProbe.statuses": OF_THE_RELAY,
    "LivenessProbe.liveness_of": OF_THE_RELAY,
    "LivenessProbe.note_followed": OF_THE_RELAY,
}


def test_a_statement_compares_tenant_and_owner_or_stands_here() -> None:
    names = {name for name, statement in found().items() if not OWNED.search(statement)}
    assert names == WITHOUT_OWNER.keys()


def test_tenant_and_owner_are_parameters_in_this_order() -> None:
    """So that `*owner` gives both."""
    pairs = {name: OWNED.findall(statement) for name, statement in found().items()}
    turned = [name for name, each in pairs.items() if any(int(b) != int(a) + 1 for a, b in each)]
    assert turned == []


def _methods() -> Iterator[tuple[str, Callable[..., Any]]]:
    for cls in (Runs, AdmissionRuns, AttemptRuns, LivenessProbe, AwaitedCalls, Endings):
        for name, method in vars(cls).items():
            if inspect.iscoroutinefunction(method) and not name.startswith("_"):
                yield f"{cls.__name__}.{name}", method


def test_a_method_takes_an_owner_or_a_run_of_one_or_stands_here() -> None:
    """The parameter has no default."""
    without = set()
    for name, method in _methods():
        hints = get_type_hints(method)
        required = [
            hints.get(parameter.name)
            for parameter in inspect.signature(method).parameters.values()
            if parameter.default is parameter.empty
        ]
        if Owner not in required and Run not in required:
            without.add(name)
    assert without == CALLED_WITHOUT_OWNER.keys()
    assert get_type_hints(Run)["owner"] is Owner


async def asked_wrongly(runs: AdmissionRuns, calls: AwaitedCalls, previews: Previews) -> None:
    """Never called: mypy refuses each line, and `make check` fails for an ignore that nothing needs."""
    await runs.get("run_1")  # type: ignore[call-arg, arg-type]
    await runs.get("run_1", ALICE)  # type: ignore[arg-type]
    await runs.get(("acme", "alice"), "run_1")  # type: ignore[arg-type]
    await runs.get(None, "run_1")  # type: ignore[arg-type]
    await runs.active("acme", "alice", "thr_1")  # type: ignore[call-arg, arg-type]
    await runs.unfinished("thr_1")  # type: ignore[call-arg, arg-type]
    await runs.request_cancel("run_1")  # type: ignore[arg-type]
    await calls.item_of("acme", "alice", "thr_1")  # type: ignore[call-arg, arg-type]
    previews.url("atc_1", "acme", "alice")  # type: ignore[call-arg, arg-type]
    Grant("GET", "atc_1", "acme", "alice", None)  # type: ignore[call-arg, arg-type]
    Owner("acme", "alice")  # type: ignore[call-arg]
    Owner(user_id="alice")  # type: ignore[call-arg]
    ALICE.tenant = "globex"  # type: ignore[misc]


def test_tenant_and_user_cannot_be_exchanged_unnoticed() -> None:
    make: Any = Owner
    with pytest.raises(TypeError):
        make("acme", "alice")
    assert Owner(tenant="alice", user_id="acme") != ALICE
    assert tuple(ALICE) == ("acme", "alice")


@pytest.mark.parametrize("tenant", [None, ""])
def test_callers_without_a_tenant_are_of_the_empty_one(tenant: str | None) -> None:
    identity = Identity("alice", tenant, None, {}, "", 0.0)
    expected = Owner(tenant="", user_id="alice")
    assert identity.owner == RequestContext(user_id="alice", tenant=tenant).owner == expected


def test_keys_in_redis_are_those_of_the_release_before() -> None:
    assert ALICE.digest == "3356c5742ccbacac4a11b25fc7d4539c"
    assert Owner(tenant="", user_id="alice").digest == "667ec6a2ffdab2d5d22eeb550f2ccb72"
    half = Owner(tenant="", user_id="\ud800")
    assert len(half.digest) == 32
