"""Every statement that the product sends, with parameters that are hard on it, for the rows of `dataset`.

A case is named for its constant, by room and module: `runs.statements.ACTIVE`. `found()` names the statements that the
product has, so that none is forgotten here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import ModuleType
from typing import Any, Final
from uuid import UUID

from bench.postgres.dataset import CALLER, LONG_THREAD, OLD_DAYS, Size
from relaykit.api import receipts, redis_reach, thread_marks
from relaykit.api.admission import admission_rows
from relaykit.api.admission.admission_rows import MAX_SAME_BODY
from relaykit.api.receipts import REPEAT_SECONDS
from relaykit.api.relay import liveness_probe
from relaykit.shared import clocks, gone_runs
from relaykit.shared.attachments import objects as attachment_objects
from relaykit.shared.attachments import store as attachments
from relaykit.shared.attachments.store import UNSENT_SECONDS
from relaykit.shared.operating import (
    acts,
    audit,
    database_figures,
    erasure,
    queue_figures,
    run_details,
    run_lists,
    thread_reading,
)
from relaykit.shared.postgres import locks
from relaykit.shared.runs import awaited_calls
from relaykit.shared.runs import statements as runs_sql
from relaykit.shared.runs.run import MAX_UNCOUNTED_ATTEMPTS, Status, sources
from relaykit.shared.threads import statements as store_sql
from relaykit.shared.threads import undo_statements as undo_sql
from relaykit.shared.threads.store import PAGE_MAX_BYTES
from relaykit.thread_import import attachments as import_attachments
from relaykit.thread_import import rows as import_rows
from relaykit.worker.execution import attempt_rows
from relaykit.worker.reaper import reaper, sweeps

MODULES: Final = (
    locks,
    runs_sql,
    admission_rows,
    receipts,
    redis_reach,
    thread_marks,
    liveness_probe,
    attempt_rows,
    awaited_calls,
    store_sql,
    undo_sql,
    attachments,
    attachment_objects,
    sweeps,
    gone_runs,
    erasure,
    thread_reading,
    import_rows,
    import_attachments,
    queue_figures,
    run_lists,
    run_details,
    audit,
    acts,
    clocks,
    database_figures,
)
VERBS: Final = ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH")
PAGE: Final = 20
"""Items of a thread, and threads, that a ChatKit client asks for at once."""

Parameter = str | int | float | None | list[str]


@dataclass(frozen=True, slots=True)
class Case:
    """A statement with its parameters. `what` tells two cases of one statement apart."""

    name: str
    parameters: tuple[Parameter, ...]
    what: str = ""

    @property
    def title(self) -> str:
        return f"{self.name} ({self.what})" if self.what else self.name

    @property
    def sql(self) -> str:
        return found()[self.name]


def found() -> dict[str, str]:
    """All SQL texts of the product, by module and constant."""
    return {
        f"{_short(module)}.{name}": value
        for module in MODULES
        for name, value in vars(module).items()
        if isinstance(value, str) and value.lstrip().startswith(VERBS)
    }


def cases(size: Size) -> list[Case]:
    """One case of each statement at least, for a database of that size."""
    return [
        *_of_admission(size),
        *_of_runs(size),
        *_of_calls(size),
        *_of_sweeps(size),
        *_of_the_store(size),
        *_of_undo(size),
        *_of_attachments(size),
        *_of_the_import(),
        *_of_erasure(),
        *_of_the_operator(size),
    ]


def _of_admission(size: Size) -> list[Case]:
    running = f"run_long_{size.long_runs}"
    thread = (*CALLER, LONG_THREAD)
    new: tuple[Parameter, ...] = ("run_new", *CALLER, "thr_new", "threads.create", "{}", "{}", None)
    busy: tuple[Parameter, ...] = (*new[:3], LONG_THREAD, *new[4:])
    return [
        Case(
            "admission.admission_rows.ADMIT",
            (*new, None, "key_new", "\\x01", 3, "true", 50),
            "of a caller with a limit",
        ),
        Case("admission.admission_rows.ADMIT", (*busy, None, None, "\\x01", 3, "true", 0), "busy thread"),
        Case("admission.admission_rows.ADMIT", (*busy, None, None, "\\x01", 3, "false", 0), "refused"),
        Case(
            "admission.admission_rows.ADMIT_MESSAGE",
            (*new, "msg_a", None, "\\x01", 3, "true", 50, "{}", "{}", REPEAT_SECONDS),
        ),
        Case(
            "admission.admission_rows.ADMIT_MESSAGE",
            (*busy, "msg_a", None, "\\x01", 3, "true", 0, None, "{}", 0),
            "busy thread",
        ),
        Case("admission.admission_rows.BY_KEY", (*CALLER, "key_run_10_2")),
        Case("admission.admission_rows.MAKE_DURABLE", (running, *CALLER)),
        Case("admission.admission_rows.UNRECEIVED", (*CALLER, "\\x02", REPEAT_SECONDS)),
        Case("admission.admission_rows.SAME_BODY", (*CALLER, "\\x02", 3_600, MAX_SAME_BODY)),
        Case("admission.admission_rows.NEWEST", thread),
        Case("admission.admission_rows.UNFINISHED_COUNT", CALLER),
        Case("admission.admission_rows.UNFINISHED", (*thread, None)),
        Case("admission.admission_rows.UNFINISHED", (*thread, running), "before a run"),
        Case("admission.admission_rows.RUN_ANSWERING", (*thread, "msg_none")),
    ]


def _of_runs(size: Size) -> list[Case]:
    running = f"run_long_{size.long_runs}"
    queued, waiting = f"run_{size.threads - size.active}_7", "run_waiting_0"
    thread = (*CALLER, LONG_THREAD)
    behind = _owned(size, size.threads)
    return [
        Case("runs.statements.BY_ID", (running, *CALLER)),
        Case("api.receipts.NOTE_RECEIVED", ([running, queued, waiting],)),
        Case("api.redis_reach.TELL", ()),
        Case("api.redis_reach.LOOK", ()),
        Case("api.thread_marks.RUNS", (*thread, thread_marks.MARKED_RUNS, thread_marks.MARKED_STATES)),
        Case("api.thread_marks.ITEMS", (*thread, [running, waiting], thread_marks.MARKED_ITEMS, ["msg_1"])),
        Case("api.thread_marks.SET_FEEDBACK", (LONG_THREAD, *CALLER, ["msg_1", "msg_2"], "positive")),
        Case("runs.statements.ACTIVE", thread),
        Case("runs.statements.ACTIVE", (*behind, f"thr_{size.threads}"), "one waits behind it"),
        Case(
            "execution.attempt_rows.START",
            (queued, sources(Status.RUNNING), False, MAX_UNCOUNTED_ATTEMPTS, str(UUID(int=1))),
        ),
        Case("execution.attempt_rows.STATUS", (running,)),
        Case("runs.statements.FINISH", (running, 1, "completed", None, sources(Status.COMPLETED))),
        Case(
            "runs.statements.FINISH_ALONE",
            (running, *thread, 1, "completed", None, sources(Status.COMPLETED)),
        ),
        Case("runs.statements.PROMOTE", (*behind, f"thr_{size.threads}")),
        Case("execution.attempt_rows.LATER_INPUTS", (*thread, running)),
        Case("execution.attempt_rows.HAND_BACK", (running, 1)),
        Case("runs.statements.REQUEST_CANCEL", (waiting,)),
        Case("relay.liveness_probe.STATUSES", ([running, queued, waiting],)),
        Case("execution.attempt_rows.FORBID_NEXT_ATTEMPT", (running, 1)),
        Case("postgres.locks.THREAD_LOCK", thread),
        Case("runs.statements.SET_ANCHOR", (running, "msg_1")),
        Case("runs.statements.SET_INPUT", (running, "{}")),
        Case("runs.statements.NOTE_GONE", (*CALLER, "thr_10")),
    ]


def _of_calls(size: Size) -> list[Case]:
    running, thread = f"run_long_{size.long_runs}", (*CALLER, LONG_THREAD)
    end = (running, 1, "completed", None, sources(Status.COMPLETED))
    return [
        Case("runs.awaited_calls.FINISH_AWAITING", (*end, "msg_1", 300)),
        Case("runs.awaited_calls.LOCK_THREAD_ROW", thread),
        Case("runs.awaited_calls.AWAITED", thread),
        Case("runs.awaited_calls.END_WAIT", (*thread, running)),
    ]


def _of_sweeps(size: Size) -> list[Case]:
    page = reaper.DELETE_AT_ONCE
    stays, goes = OLD_DAYS, OLD_DAYS // 2
    old = [f"run_{thread}_1" for thread in range(1, 1 + page)]
    return [
        Case("reaper.sweeps.QUEUED", (reaper.QUEUED_SECONDS, None, "", reaper.ASKED_AT_ONCE)),
        Case(
            "reaper.sweeps.QUEUED",
            (reaper.QUEUED_SECONDS, "9999-01-01", "", reaper.ASKED_AT_ONCE),
            "last page",
        ),
        Case("reaper.sweeps.RUNNING", ("", reaper.ASKED_AT_ONCE)),
        Case("reaper.sweeps.RUNNING", (f"run_{size.threads}", reaper.ASKED_AT_ONCE), "last page"),
        Case("reaper.sweeps.RUNS", ([f"run_{number}" for number in range(1, 1 + reaper.ASKED_AT_ONCE)],)),
        Case("reaper.sweeps.STRANDED", (reaper.STRANDED_AT_ONCE,)),
        Case("reaper.sweeps.OVERDUE", (reaper.OVERDUE_AT_ONCE,)),
        Case("reaper.sweeps.OLD_RUNS", (stays, None, "", page), "all stay"),
        Case("reaper.sweeps.OLD_RUNS", (goes, "-infinity", "", page), "most go"),
        Case("reaper.sweeps.DELETE_RUNS", (old,)),
        Case("reaper.sweeps.OLD_THREADS", (stays, None, "", page)),
        Case("reaper.sweeps.LOCK_OLD_THREADS", ([f"thr_{number}" for number in range(1, 1 + page)],)),
        Case("reaper.sweeps.DELETE_THREADS", (stays, [f"thr_{number}" for number in range(1, 1 + page)])),
        Case("shared.gone_runs.DUE", (gone_runs.FOLLOWED_SECONDS, reaper.ASKED_AT_ONCE, ["gone_10"])),
        Case("shared.gone_runs.POSTPONE", (["gone_10"], 3600)),
        Case("shared.gone_runs.FORGET", ([f"gone_{number}" for number in range(1, 50)] + old[:50],)),
    ]


def _of_the_store(size: Size) -> list[Case]:
    fence: tuple[Parameter, ...] = (f"run_long_{size.long_runs}", 1)
    changed: tuple[Parameter, ...] = (['"title"'], ['"a"'], ['"b"'])
    of_caller, in_thread = (LONG_THREAD, *CALLER), (LONG_THREAD, *CALLER)
    page = (PAGE, PAGE_MAX_BYTES)
    first, middle = "msg_1", f"msg_{size.long_items // 2}"
    tenant_less = f"thr_{size.threads // 20 * 10}"
    return [
        Case("threads.statements.LOAD_THREAD", of_caller),
        Case("threads.statements.SAVE_THREAD", (*of_caller, "{}", "{}", "true", *changed, *fence)),
        Case(
            "threads.statements.SAVE_THREAD",
            (*of_caller, "{}", "", "true", *changed, *fence),
            "changed meanwhile",
        ),
        Case(
            "threads.statements.SAVE_THREAD",
            ("thr_new", *CALLER, "{}", "", "false", *changed, None, None),
            "a new one",
        ),
        Case("threads.statements.THREADS_ASC", (*CALLER, *page)),
        Case("threads.statements.THREADS_DESC", (*CALLER, *page)),
        Case("threads.statements.THREADS_ASC_AFTER", (*CALLER, *page, tenant_less)),
        Case("threads.statements.THREADS_DESC_AFTER", (*CALLER, *page, tenant_less)),
        Case("threads.statements.THREADS_BY_USE", (*CALLER, *page)),
        Case(
            "threads.statements.THREADS_BY_USE_AFTER",
            (*CALLER, *page, (datetime.now(UTC) - timedelta(days=30)).isoformat(), 10**9),
        ),
        Case("threads.statements.LOCK_THREAD", (*of_caller, *fence)),
        Case("threads.statements.DELETE_THREAD", ("thr_10", *CALLER)),
        Case("threads.statements.WRITE_ITEM", (*in_thread, "msg_new", "{}", *fence)),
        Case("threads.statements.WRITE_ITEM", (*in_thread, middle, "{}", *fence), "over an older one"),
        Case("threads.statements.WRITE_MESSAGE", (*in_thread, "msg_new", "{}", *fence, ["atc_10", "atc_11"])),
        Case("threads.statements.LOAD_ITEM", (*in_thread, middle)),
        Case("threads.statements.ITEMS_ASC", (*in_thread, *page, None)),
        Case("threads.statements.ITEMS_DESC", (*in_thread, *page, None)),
        Case("threads.statements.ITEMS_DESC", (*in_thread, *page, fence[0]), "of a run"),
        Case("threads.statements.ITEMS_ASC_AFTER", (*in_thread, *page, None, middle)),
        Case("threads.statements.ITEMS_DESC_AFTER", (*in_thread, *page, None, middle)),
        Case("threads.statements.COUNT_ITEMS", (*in_thread, [first, middle])),
        Case("threads.statements.DELETE_ITEM", (*in_thread, middle, *fence)),
        Case("threads.statements.DELETE_NEWER", (*in_thread, f"msg_{size.long_items - 10}", *fence)),
        Case("threads.statements.DELETE_NEWER", (*in_thread, first, None, None), "all but the first message"),
        Case("threads.statements.MOVE_TO_END", (*in_thread, first, *fence)),
        Case("threads.statements.LOAD_ATTACHMENT", ("atc_10", *CALLER)),
        Case("threads.statements.SAVE_ATTACHMENT", ("atc_new", *CALLER, "{}", LONG_THREAD)),
        Case("threads.statements.IS_SENT", ("atc_10", *CALLER)),
        Case("threads.statements.DELETE_ATTACHMENT", ("atc_10", *CALLER)),
    ]


def _of_undo(size: Size) -> list[Case]:
    run = f"run_long_{size.long_runs}"
    of_run = (LONG_THREAD, *CALLER, run)
    return [
        Case(
            "threads.undo_statements.DELETE_ADDED",
            (LONG_THREAD, *CALLER, f"msg_{size.long_items}", ["msg_1"], run, 1),
        ),
        Case("threads.undo_statements.DELETE_CHANGED", of_run),
        Case("threads.undo_statements.PUT_BACK_ITEMS", (*of_run, ["msg_1"])),
        Case("threads.undo_statements.TAKE_FIELDS", of_run),
        Case("threads.undo_statements.PUT_BACK_THREAD", (LONG_THREAD, *CALLER, "{}")),
    ]


def _of_attachments(size: Size) -> list[Case]:
    return [
        Case("attachments.store._CREATE", ("atc_new", *CALLER, "{}", 1000, 1_000_000, 10**12)),
        Case("attachments.store._NOTE_SENT", (["atc_50", "atc_100"], *CALLER)),
        Case("attachments.store._FORGET_UNSENT", (UNSENT_SECONDS, 100)),
        Case("attachments.store._DELETE", ("atc_10", *CALLER)),
        Case("attachments.store._DELETE_UNSENT", (UNSENT_SECONDS, 100)),
        Case("attachments.objects._FIND", ("atc_10",)),
        Case("attachments.objects._BEGIN", ("atc_new", "key_new", 600, 3600)),
        Case("attachments.objects._RELEASE", ("atc_20", "key_20")),
        Case("attachments.objects._COMPLETE", ("atc_10", "gone_10", 1000)),
        Case("attachments.objects._FORGET_GARBAGE", ("gone_10",)),
        Case("attachments.objects._DUE_GARBAGE", (100, [])),
        Case("attachments.objects._NOTED_GARBAGE", (["gone_10"],)),
        Case("attachments.objects._POSTPONE_GARBAGE", (["gone_10"], 3600)),
    ]


def _of_the_import() -> list[Case]:
    thread = (LONG_THREAD, *CALLER)
    return [
        Case("thread_import.rows.LOCK", thread),
        Case("thread_import.rows.STATE", thread),
        Case("thread_import.rows.STATE", ("thr_10", *CALLER), "of a short thread"),
        Case("thread_import.rows.INSERT_THREAD", ("thr_new", *CALLER, "{}")),
        Case("thread_import.rows.UPDATE_THREAD", ("thr_10", *CALLER, "{}")),
        Case("thread_import.rows.LOCK_ITEMS", thread),
        Case("thread_import.rows.WRITE_ITEMS", ("thr_10", *CALLER, ["msg_new"], ["1"])),
        Case("thread_import.rows.DELETE_LEFT", ("thr_10", *CALLER, 1)),
        Case("thread_import.rows.COUNT", thread),
        Case("thread_import.rows.NOTE", (*thread, "digest")),
        Case("thread_import.attachments.REGISTER", ("atc_new", *CALLER, "{}", 1_000)),
    ]


def _of_the_operator(size: Size) -> list[Case]:
    every, ends = sorted(status.value for status in Status), ["cancelled", "failed"]
    running = f"run_long_{size.long_runs}"
    user, hour = CALLER[1], 3600
    any_time: tuple[Parameter, ...] = (None, None)
    top: tuple[Parameter, ...] = (None, None)
    deep = ((datetime.now(UTC) - timedelta(days=20)).isoformat(), "run_1")
    return [
        Case("operating.queue_figures.UNFINISHED", ()),
        Case("operating.queue_figures.BUSIEST", (10,)),
        Case("operating.run_lists.BY_STATUS", (every, *any_time, None, None, None, None, PAGE, *top)),
        Case(
            "operating.run_lists.BY_STATUS",
            (every, None, hour, None, None, None, None, PAGE, *top),
            "older ones",
        ),
        Case("operating.run_lists.BY_ERROR", (ends, hour, None, "timeout", None, None, None, PAGE, *top)),
        Case("operating.run_lists.BY_TENANT", (every, *any_time, None, "acme", None, None, PAGE, *top)),
        Case("operating.run_lists.BY_USER", (every, *any_time, None, None, user, None, PAGE, *top)),
        Case(
            "operating.run_lists.BY_USER",
            (every, *any_time, None, None, "nobody", None, PAGE, *top),
            "of nobody",
        ),
        Case("operating.run_lists.BY_THREAD", (every, *any_time, None, None, None, LONG_THREAD, PAGE, *top)),
        Case(
            "operating.run_lists.BY_STATUS", (every, *any_time, None, None, None, None, PAGE, *deep), "deep"
        ),
        Case(
            "operating.run_lists.BY_TENANT", (every, *any_time, None, "acme", None, None, PAGE, *deep), "deep"
        ),
        Case("operating.run_lists.BY_USER", (every, *any_time, None, None, user, None, PAGE, *deep), "deep"),
        Case("operating.run_lists.BY_ID", (every, *any_time, None, None, None, None, PAGE, *top, running)),
        Case("operating.run_lists.ENDED_LATELY", (hour,)),
        Case("operating.run_details.FIND", (running,)),
        Case("operating.run_details.ROW", (running,)),
        Case("operating.run_details.CONTENT", (running,)),
        Case("operating.audit.NOTE", ("ann@host", "cancel", running, None)),
        Case("operating.audit.SET_OUTCOME", (1, "cancelled")),
        Case("operating.audit.ON_TARGET", (running, PAGE)),
        Case("operating.audit.NEWEST", (PAGE,)),
        Case("operating.acts.CANCEL", ("run_waiting_0",)),
        Case("shared.clocks.NOW", ()),
        Case("operating.database_figures.STATE", ()),
        Case("operating.acts.END_WAIT", (*CALLER, LONG_THREAD, running)),
    ]


def _of_erasure() -> list[Case]:
    page = thread_reading.PAGE
    long, short = (*CALLER, LONG_THREAD), (*CALLER, "thr_10")
    run_ids = [f"run_{number}0_1" for number in range(1, 1 + erasure.ERASED_AT_ONCE)]
    return [
        Case("operating.thread_reading.OWNER_OF_THREAD", ("thr_10",)),
        Case("operating.thread_reading.OWNERS_OF_RUNS", ("thr_10",)),
        Case("operating.thread_reading.SHOWN", long),
        Case("operating.thread_reading.KNOWN", CALLER),
        Case("operating.thread_reading.KNOWN", ("", "nobody"), "of nobody"),
        Case("operating.thread_reading.THREAD_IDS", (*CALLER, 0, page)),
        Case("operating.thread_reading.ITEMS", (*long, 0, page)),
        Case("operating.thread_reading.RUNS_OF_THREAD", (*long, 0, page)),
        Case("operating.thread_reading.OTHER_RUNS", (*CALLER, "9999-01-01", "", page), "last page"),
        Case("operating.thread_reading.ATTACHMENTS_OF_THREAD", (*short, "", page)),
        Case("operating.thread_reading.UNSENT", (*CALLER, "", page)),
        Case("operating.erasure.END_OF_THREAD", long),
        Case("operating.erasure.END_OF_USER", CALLER),
        Case("operating.erasure.RUN_IDS_OF_THREAD", long),
        Case("operating.erasure.RUN_IDS_OF_USER", (*CALLER, erasure.ERASED_AT_ONCE, None, "")),
        Case("operating.erasure.CANCELLED", (*CALLER, run_ids)),
        Case("operating.erasure.LOCK_ROW", long),
        Case("operating.erasure.COUNT_THREAD", long),
        Case("operating.erasure.ERASE_IMPORT", short),
        Case("operating.erasure.ERASE_IMPORTS", ("", "owner_1")),
        Case("operating.erasure.ERASE_UNSENT", CALLER),
        Case("operating.erasure.COUNT_LEFT", (run_ids,)),
        Case("operating.erasure.NOTE_GONE_RUNS", (run_ids,)),
    ]


def _owned(size: Size, thread: int) -> tuple[str, str]:
    """Tenant and owner of a thread by its number; a multiple of ten is the caller's."""
    assert thread % 10 == 0, size
    return CALLER


def literal(value: Parameter) -> str:
    """As an argument of EXECUTE, which gives it the type that the statement needs."""
    if value is None:
        return "NULL"
    if isinstance(value, list):
        return literal("{" + ",".join(value) + "}")
    text = str(value).replace("'", "''")
    return f"'{text}'"


def literals(values: Sequence[Parameter]) -> str:
    return ", ".join(map(literal, values))


def _short(module: ModuleType) -> str:
    return ".".join(module.__name__.split(".")[-2:])


__all__: Any = ["Case", "cases", "found", "literals"]
