"""The command `relaykit`. Each command takes its settings from the environment, and imports what it needs itself."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

from relaykit.command_help import EPILOG, description, wrapped
from relaykit.operator_commands.arguments import add_operator_arguments, call_operator_command
from relaykit.shared.process.exit import exit_process

BAD_USAGE = 2


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line instead of argparse's usage and message."""
        self.exit(BAD_USAGE, f"{self.prog}: {message}; `{self.prog} --help` says more\n")


def _api(_: argparse.Namespace) -> int:
    from relaykit.api.__main__ import run

    run()


def _worker(_: argparse.Namespace) -> int:
    from relaykit.worker.__main__ import run

    run()


def _migrate(_: argparse.Namespace) -> int:
    from relaykit.shared.postgres.migrate import main

    return main()


def _local(_: argparse.Namespace) -> int:
    from relaykit.local.__main__ import main

    return main()


def _dev(given: argparse.Namespace) -> int:
    from relaykit.local.__main__ import main

    return main(given.server, reload=True)


def _check(_: argparse.Namespace) -> int:
    from relaykit.check import main

    return main()


def _new(given: argparse.Namespace) -> int:
    from relaykit.template.command import main

    return main(given.folder)


def _import_threads(given: argparse.Namespace) -> int:
    from relaykit.thread_import.command import main

    return main(given.source, user_id=given.user, tenant=given.tenant, dry_run=given.dry_run)


COMMANDS: dict[str, tuple[Callable[[argparse.Namespace], int], str]] = {
    "api": (_api, "run one API process on HOST:PORT, until SIGTERM"),
    "worker": (_worker, "run one worker process, until SIGTERM"),
    "migrate": (_migrate, "bring the schema of DATABASE_URL up to date, once for each release"),
    "new": (_new, "write a server, a page, a test and settings into an empty folder, to begin from"),
    "dev": (
        _dev,
        "run all of Relaykit on this machine for the server of this folder, and load its files anew when they change",
    ),
    "local": (
        _local,
        "run all of Relaykit on this machine, with Redis and PostgreSQL of its own, until Ctrl-C",
    ),
    "import-threads": (
        _import_threads,
        "copy the threads, items and attachments of another ChatKit store into Relaykit's",
    ),
    "status": (
        call_operator_command,
        "show everything at a glance: services, queue, workers, runs that have ended",
    ),
    "runs": (call_operator_command, "list runs and show one; cancel, retry and requeue them"),
    "queue": (call_operator_command, "show how many runs are due, and whose they are"),
    "threads": (call_operator_command, "show, export and erase a thread"),
    "users": (call_operator_command, "export and erase all that is here of a user"),
    "workers": (call_operator_command, "list the workers, and drain them"),
    "check": (_check, "check settings, the site's server, the services and the schema, one line for each"),
}


def _add_arguments(parsers: Mapping[str, argparse.ArgumentParser]) -> None:
    parsers["dev"].add_argument(
        "server",
        nargs="?",
        help="module:attribute of the ChatKitServer; otherwise CHATKIT_SERVER, in .env too",
    )
    parsers["new"].add_argument("folder", help="the folder; . is this one")
    importing = parsers["import-threads"]
    importing.add_argument(
        "source", help="module:attribute of a chatkit Store, or of a function that gives ThreadSources"
    )
    importing.add_argument(
        "--user", help="whose threads of a Store are read, and become: the `sub` of the tokens"
    )
    importing.add_argument("--tenant", help="the tenant of that user")
    importing.add_argument("--dry-run", action="store_true", help="write nothing, and say what would be done")
    add_operator_arguments(parsers, _Parser, wrapped, EPILOG)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command that the arguments name; the status to end with. `api` and `worker` end the process."""
    parser = _Parser(
        prog="relaykit",
        description="Runs any ChatKitServer behind a queue.",
        epilog=EPILOG,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="store_true", help="print the version")
    commands = parser.add_subparsers(dest="command", metavar="command", parser_class=_Parser)
    parsers = {
        name: commands.add_parser(
            name,
            help=summary,
            description=description(name),
            epilog=EPILOG,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        for name, (_, summary) in COMMANDS.items()
    }
    _add_arguments(parsers)
    words = list(sys.argv[1:] if arguments is None else arguments)
    named = next((word for word in words if not word.startswith("-")), None)
    if named is not None and named not in COMMANDS:
        parser.error(f"unknown command {named!r}")
    given, rest = parser.parse_known_args(words)
    if rest:
        parsers.get(given.command, parser).error(f"unrecognized arguments: {' '.join(rest)}")
    if given.version:
        from relaykit.shared.version import VERSION

        print(f"relaykit {VERSION}")
        return 0
    if given.command is None:
        parser.error("a command is missing")
    call, _ = COMMANDS[given.command]
    return call(given)


def entry_point() -> NoReturn:
    """The installed command, to the end of its process."""
    exit_process(main())
