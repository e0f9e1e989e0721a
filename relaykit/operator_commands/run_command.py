"""How a command runs: from the settings of the environment to its exit status."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable

from relaykit.operator_commands.printing import describe_error, discard, say
from relaykit.operator_commands.services import FAILED, OperatorServices, opened_services, status_of
from relaykit.shared.errors import RelaykitError
from relaykit.shared.log import configure
from relaykit.shared.settings import Settings, load_settings


def run_command(name: str, work: Callable[[OperatorServices], Awaitable[int]]) -> int:
    """The status that `work` gives; 1 where a service is away, 2 where what was asked for means nothing."""

    def call(settings: Settings) -> int:
        async def main() -> int:
            async with opened_services(settings) as services:
                return await work(services)

        return asyncio.run(main())

    return guarded(name, call)


def guarded(name: str, call: Callable[[Settings], int]) -> int:
    """Calls with the settings. What goes wrong is one line on stderr."""
    _open_streams()
    try:
        settings = load_settings()
        configure("critical", settings.log_format)
        status = call(settings)
        sys.stdout.flush()
    except RelaykitError as error:
        say(f"relaykit {name}: {describe_error(error)}")
        return status_of(error)
    except BrokenPipeError:  # the reader has enough
        discard(sys.stdout)
        return 0
    except OSError as error:
        discard(sys.stdout)
        say(f"relaykit {name}: cannot be written: {error.strerror}")
        return FAILED
    except (KeyboardInterrupt, asyncio.CancelledError):
        say(f"relaykit {name}: stopped")
        return FAILED
    else:
        return status
    finally:
        try:
            sys.stdout.flush()  # Python would say so at its end, and end with a status of its own
        except OSError:
            discard(sys.stdout)


def _open_streams() -> None:
    """A stream that was closed before the command began is None, and its number would be a connection's."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        getattr(sys, name).reconfigure(errors="backslashreplace")
