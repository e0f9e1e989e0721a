"""The operator's commands: their subcommands, and what each takes."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Final

from relaykit.operator_commands.argument_types import actor_name, age, limit, text

STATUSES: Final = ("waiting", "queued", "running", "completed", "failed", "cancelled")

Add = Callable[[argparse.ArgumentParser], None]


@dataclass(frozen=True, slots=True)
class Subcommand:
    """`call` names the function as `module:function`, within this package; it is imported when it is called."""

    call: str
    summary: str
    description: str
    add: Add


def _json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON: an object, or one a line in a list")


def _content(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--content", action="store_true", help="print what users, server and model wrote, too"
    )


def _act(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--yes", action="store_true", help="do not ask first")
    parser.add_argument(
        "--by", type=actor_name, metavar="NAME", help="who does it, for the audit; otherwise user@host"
    )


def _run_act(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", type=text, metavar="RUN", help="id of a run")
    _act(parser)


def _runs_list(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--status",
        action="append",
        choices=STATUSES,
        default=[],
        metavar="STATUS",
        help=", ".join(STATUSES) + "; may be given several times",
    )
    parser.add_argument(
        "--since", type=age, metavar="AGE", help="accepted within this time: 90s, 15m, 24h, 7d"
    )
    parser.add_argument("--older-than", type=age, metavar="AGE", help="accepted longer ago than this")
    parser.add_argument("--tenant", type=text)
    parser.add_argument("--user", type=text, help="the `sub` of the user's tokens")
    parser.add_argument("--thread", type=text)
    parser.add_argument("--error", type=text, metavar="CODE", help="the error's code, such as timeout")
    parser.add_argument("--limit", type=limit, default=50, metavar="N", help="runs at most (50)")
    parser.add_argument(
        "--before", type=text, metavar="RUN", help="go on after this run, the last one of the list before"
    )
    _json(parser)


def _runs_show(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=text, metavar="RUN", help="id of the run")
    _content(parser)
    _json(parser)


def _runs_events(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=text, metavar="RUN", help="id of the run")
    parser.add_argument("--after", type=text, metavar="CURSOR", help="events after this one, such as 1-20")
    parser.add_argument("--limit", type=limit, default=1000, metavar="N", help="events at most (1000)")
    _content(parser)
    _json(parser)


def _runs_requeue(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--force",
        action="store_true",
        help="take the run away from a worker that holds it: its attempt is lost, and counts",
    )
    _run_act(parser)


def _workers_drain(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("workers", nargs="+", type=text, metavar="WORKER", help="id of a worker")
    _act(parser)


def _thread(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("thread", type=text, metavar="THREAD", help="id of the thread")


def _user(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("user", type=text, metavar="USER", help="the `sub` of the user's tokens")
    parser.add_argument("--tenant", type=text, help="the tenant of the user, where there are tenants")


def _threads_show(parser: argparse.ArgumentParser) -> None:
    _thread(parser)
    _content(parser)
    _json(parser)


def _to(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--to", metavar="FILE", help="a new file to write into, instead of the output")


def _threads_export(parser: argparse.ArgumentParser) -> None:
    _thread(parser)
    _to(parser)


def _threads_erase(parser: argparse.ArgumentParser) -> None:
    _thread(parser)
    _act(parser)
    _json(parser)


def _users_export(parser: argparse.ArgumentParser) -> None:
    _user(parser)
    _to(parser)


def _users_erase(parser: argparse.ArgumentParser) -> None:
    _user(parser)
    _act(parser)
    _json(parser)


SUBCOMMANDS: Final[Mapping[str, Mapping[str, Subcommand]]] = {
    "runs": {
        "list": Subcommand(
            "runs:list_runs",
            "list runs, newest first, by status, age, tenant, user, thread, error",
            "Lists runs of every user, newest first, with the worker that has each. Without a filter: all.",
            _runs_list,
        ),
        "show": Subcommand(
            "runs:show",
            "show a run: its row, its job, its worker, what was done to it",
            "Shows all that is known of a run but what was written in it.",
            _runs_show,
        ),
        "events": Subcommand(
            "runs:events",
            "list the events in a run's journal",
            "Lists the events of a run, oldest first, as long as Redis has them: after JOURNAL_ENDED_TTL_SECONDS the "
            "answer is in the thread alone.",
            _runs_events,
        ),
        "cancel": Subcommand(
            "run_acts:cancel",
            "stop runs that have not ended",
            "Stops runs. One that has not begun ends at once; one that is executed is ended by its worker, which keeps "
            "the part of the answer that is there; one that was handed back, by the worker that takes it next.",
            _run_act,
        ),
        "retry": Subcommand(
            "retry:retry",
            "answer the message of an ended run again, by a new run",
            "Makes a new run for the same user that answers the same message again, as the user's own retry does: what "
            "the thread has after the message is deleted. The run must be the newest of its thread. A run is retried "
            "once; its retry may be retried. It loads your server, as an API does.",
            _run_act,
        ),
        "requeue": Subcommand(
            "run_acts:requeue",
            "give a queued run, or one whose worker is lost, its job now",
            "Makes runs due now that the reaper would find seconds later. With --force it takes the lease from a "
            "worker that is frozen: what that goes on to write is refused, and another worker begins the next attempt "
            "one LEASE_SECONDS later, when the first has had time to notice.",
            _runs_requeue,
        ),
    },
    "workers": {
        "list": Subcommand(
            "workers:list_workers",
            "list the workers that are there",
            "Lists the workers that say that they are there, those that have started first in front.",
            _json,
        ),
        "drain": Subcommand(
            "workers:drain",
            "have workers end, as after SIGTERM",
            "Has workers claim nothing more, finish or hand back their runs, and end. Their supervisor starts them "
            "again. A worker whose event loop stands still does not hear it, nor does one of the release before.",
            _workers_drain,
        ),
    },
    "threads": {
        "show": Subcommand(
            "threads:show",
            "show a thread: whose it is, its title, its times, how much it has, its runs",
            "Shows a thread of any user by its id. What was written in it is shown with --content alone.",
            _threads_show,
        ),
        "export": Subcommand(
            "threads:export",
            "write a thread as JSON Lines: its items, attachments and runs",
            "Writes a thread, its items in their order, its attachments with their bytes in base64, and the rows of "
            "its runs without tokens, one JSON object a line.",
            _threads_export,
        ),
        "erase": Subcommand(
            "threads:erase",
            "erase a thread: its items, attachments and their bytes, runs, journals",
            "Stops what goes on in the thread and erases it at once, in PostgreSQL, in Redis and in the object store. "
            "An attachment that another thread shows stays. It may be repeated after a failure.",
            _threads_erase,
        ),
    },
    "users": {
        "export": Subcommand(
            "users:export",
            "write all of a user as JSON Lines",
            "Writes all threads of a user as `threads export` does, one after the other, then the attachments that no "
            "message shows, and the runs of threads that are gone or in a store of your own.",
            _users_export,
        ),
        "erase": Subcommand(
            "users:erase",
            "erase all of a user: threads, attachments and their bytes, runs, journals",
            "Stops what goes on and erases all that is here of a user at once. Keep the user out first: what comes "
            "meanwhile may stay. It may be repeated after a failure, and says then what was left.",
            _users_erase,
        ),
    },
}
"""By command: its subcommands."""

PLAIN: Final[Mapping[str, tuple[str, Add]]] = {
    "queue": ("queue:queue", _json),
    "status": ("status:status", _json),
}
"""Commands without subcommands, and the function of each."""


def add_operator_arguments(
    parsers: Mapping[str, argparse.ArgumentParser],
    make_parser: type[argparse.ArgumentParser],
    describe: Callable[[str], str],
    epilog: str,
) -> None:
    """Gives the operator's commands among `parsers` what they take. `describe` wraps a text."""
    for command, (call, add) in PLAIN.items():
        add(parsers[command])
        parsers[command].set_defaults(operator_call=call)
    for command, subcommands in SUBCOMMANDS.items():
        within = parsers[command].add_subparsers(
            dest="subcommand", metavar="subcommand", parser_class=make_parser, required=True
        )
        for name, subcommand in subcommands.items():
            parser = within.add_parser(
                name,
                help=subcommand.summary,
                description=describe(subcommand.description),
                epilog=epilog,
                allow_abbrev=False,
                formatter_class=argparse.RawDescriptionHelpFormatter,
            )
            subcommand.add(parser)
            parser.set_defaults(operator_call=subcommand.call)


def call_operator_command(given: argparse.Namespace) -> int:
    """Imports the command's function, and calls it."""
    module, _, function = given.operator_call.partition(":")
    call: Callable[[argparse.Namespace], int] = getattr(
        import_module(f"relaykit.operator_commands.{module}"), function
    )
    return call(given)
