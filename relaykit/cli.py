"""The command `relaykit`. Each command takes its settings from the environment, and imports what it needs itself."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from relaykit.command_help import EPILOG, description

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


COMMANDS: dict[str, tuple[Callable[[argparse.Namespace], int], str]] = {
    "api": (_api, "run one API process on HOST:PORT, until SIGTERM"),
    "worker": (_worker, "run one worker process, until SIGTERM"),
    "migrate": (_migrate, "bring the schema of DATABASE_URL up to date, once for each release"),
    "dev": (
        _dev,
        "run all of Relaykit on this machine for the server of this folder, and load its files anew when they change",
    ),
    "local": (
        _local,
        "run all of Relaykit on this machine, with Redis and PostgreSQL of its own, until Ctrl-C",
    ),
    "check": (_check, "check settings, the site's server, the services and the schema, one line for each"),
}


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
    parsers["dev"].add_argument(
        "server",
        nargs="?",
        help="module:attribute of the ChatKitServer; otherwise CHATKIT_SERVER, in .env too",
    )
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
    """The installed command."""
    sys.exit(main())
