"""Every statement that the product sends, with parameters that are hard on it, for the rows of `dataset`.

A case is named for its constant, by room and module: `runs.statements.ACTIVE`. `found()` names the statements that the
product has, so that none is forgotten here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Final

from bench.postgres.dataset import CALLER, LONG_THREAD, OLD_DAYS, Size
from relaykit.shared.attachments import objects as attachment_objects
from relaykit.shared.attachments import store as attachments
from relaykit.shared.attachments.store import UNSENT_SECONDS
from relaykit.shared.postgres import locks
from relaykit.shared.queue.job_queue import REPEAT_SECONDS
from relaykit.shared.runs import awaited_calls
from relaykit.shared.runs import statements as runs_sql
from relaykit.shared.runs.rows import MAX_SAME_BODY
from relaykit.shared.runs.run import MAX_UNCOUNTED_ATTEMPTS, Status, sources
from relaykit.shared.threads import statements as store_sql
from relaykit.shared.threads import undo_statements as undo_sql
from relaykit.shared.threads.store import PAGE_MAX_BYTES
from relaykit.worker.reaper import reaper, sweeps

MODULES: Final = (
    locks,
    runs_sql,
    awaited_calls,
    store_sql,
    undo_sql,
    attachments,
    attachment_objects,
    sweeps,
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
        *_of_runs(size),
        *_of_calls(size),
        *_of_sweeps(size),
        *_of_the_store(size),
        *_of_undo(size),
        *_of_attachments(size),
    ]


def _of_runs(size: Size) -> list[Case]:
    running = f"run_long_{size.long_runs}"
    queued, waiting = f"run_{size.threads - size.active}_7", "run_waiting_0"
    thread = (*CALLER, LONG_THREAD)
    behind = _owned(size, size.threads)
    new: tuple[Parameter, ...] = ("run_new", *CALLER, "thr_new", "threads.create", "{}", "{}", None)
    busy: tuple[Parameter, ...] = (*new[:3], LONG_THREAD, *new[4:])
    return [
        Case(
            "runs.statements.ADMIT",
            (*new, None, "key_new", "\\x01", 3, "true", 50),
            "of a caller with a limit",
        ),
        Case("runs.statements.ADMIT", (*busy, None, None, "\\x01", 3, "true", 0), "busy thread"),
        Case("runs.statements.ADMIT", (*busy, None, None, "\\x01", 3, "false", 0), "refused"),
        Case(
            "runs.statements.ADMIT_MESSAGE",
            (*new, "msg_a", None, "\\x01", 3, "true", 50, "{}", "{}", REPEAT_SECONDS),
        ),
        Case(
            "runs.statements.ADMIT_MESSAGE",
            (*busy, "msg_a", None, "\\x01", 3, "true", 0, None, "{}", 0),
            "busy thread",
        ),
        Case("runs.statements.BY_ID", (running, *CALLER)),
        Case("runs.statements.BY_KEY", (*CALLER, "key_run_10_2")),
        Case("runs.statements.UNRECEIVED", (*CALLER, "\\x02", REPEAT_SECONDS)),
        Case("runs.statements.SAME_BODY", (*CALLER, "\\x02", 3_600, MAX_SAME_BODY)),
        Case("runs.statements.NOTE_RECEIVED", ([running, queued, waiting],)),
        Case("runs.statements.ACTIVE", thread),
        Case("runs.statements.ACTIVE", (*behind, f"thr_{size.threads}"), "one waits behind it"),
        Case("runs.statements.UNENDED_COUNT", CALLER),
        Case("runs.statements.UNENDED", (*thread, None)),
        Case("runs.statements.UNENDED", (*thread, running), "before a run"),
        Case("runs.statements.ANSWERING", (*thread, "msg_none")),
        Case("runs.statements.START", (queued, sources(Status.RUNNING), False, MAX_UNCOUNTED_ATTEMPTS)),
        Case("runs.statements.STATUS", (running,)),
        Case("runs.statements.FINISH", (running, 1, "completed", None, sources(Status.COMPLETED))),
        Case(
            "runs.statements.FINISH_ALONE",
            (running, *thread, 1, "completed", None, sources(Status.COMPLETED)),
        ),
        Case("runs.statements.PROMOTE", (*behind, f"thr_{size.threads}")),
        Case("runs.statements.LATER_INPUTS", (*thread, running)),
        Case("runs.statements.HAND_BACK", (running, 1)),
        Case("runs.statements.REQUEST_CANCEL", (waiting,)),
        Case("runs.statements.STATUSES", ([running, queued, waiting],)),
        Case("runs.statements.FORBID_NEXT_ATTEMPT", (running, 1)),
        Case("postgres.locks.THREAD_LOCK", thread),
        Case("runs.statements.SET_ANCHOR", (running, "msg_1")),
        Case("runs.statements.SET_INPUT", (running, "{}")),
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
        Case("threads.statements.LOCK_THREAD", (*of_caller, *fence)),
        Case("threads.statements.DELETE_THREAD", ("thr_10", *CALLER)),
        Case("threads.statements.WRITE_ITEM", (*in_thread, "msg_new", "{}", *fence)),
        Case("threads.statements.WRITE_ITEM", (*in_thread, middle, "{}", *fence), "over an older one"),
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
        Case("attachments.objects._DUE_GARBAGE", (100,)),
        Case("attachments.objects._POSTPONE_GARBAGE", ("gone_10", 3600)),
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
