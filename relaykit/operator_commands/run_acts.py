"""`relaykit runs cancel` and `requeue`; and how an act is done to several runs or workers, one after the other."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Awaitable, Callable, Sequence

from relaykit.operator_commands.confirmation import actor, require_yes
from relaykit.operator_commands.printing import describe_error, discard, plain, say
from relaykit.operator_commands.run_command import run_command
from relaykit.operator_commands.services import AWAY, FAILED, OperatorServices, status_of
from relaykit.shared.errors import RelaykitError, RunNotFound
from relaykit.shared.runs.run import Run


def cancel(given: argparse.Namespace) -> int:
    async def work(services: OperatorServices) -> int:
        services.need()
        runs = await found_runs(services, given.runs)
        require_yes(question("Cancel", runs), yes=given.yes)
        by = actor(given.by)
        return await each("runs cancel", given.runs, lambda run_id: services.acts.cancel(run_id, by))

    return run_command("runs cancel", work)


def requeue(given: argparse.Namespace) -> int:
    async def work(services: OperatorServices) -> int:
        services.need()
        runs = await found_runs(services, given.runs)
        if given.force:
            require_yes(question("Take from their workers", runs), yes=given.yes)
        by = actor(given.by)
        return await each(
            "runs requeue",
            given.runs,
            lambda run_id: services.acts.requeue(run_id, by, force=given.force),
        )

    return run_command("runs requeue", work)


async def found_runs(services: OperatorServices, run_ids: Sequence[str]) -> list[Run]:
    """All of them, before anything is done to one. Raises RunNotFound, which names the first that is not there."""
    found = []
    for run_id in run_ids:
        try:
            found.append(await services.reader.row(run_id))
        except RunNotFound:
            raise RunNotFound(f"There is no run {plain(run_id)}.") from None
    return found


def question(what: str, runs: Sequence[Run]) -> str:
    named = ", ".join(f"{run.id} ({run.status.value}, of {plain(run.owner.user_id)})" for run in runs[:5])
    more = f" and {len(runs) - 5} more" if len(runs) > 5 else ""
    return f"{what}: {named}{more}?"


def _tell(text: str) -> None:
    """Prints. A reader that closed the pipe does not stop the remaining acts."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        discard(sys.stdout)


async def each(name: str, targets: Sequence[str], act: Callable[[str], Awaitable[str]]) -> int:
    """Does the act to each. What is refused of one keeps no other from it; a service that is away does."""
    status = 0
    for target in dict.fromkeys(targets):
        try:
            _tell(f"{plain(target)}: {plain(await act(target))}")
        except AWAY as error:
            say(
                f"relaykit {name}: {plain(target)}: {describe_error(error)} Do it again: it may be done in part."
            )
            return FAILED
        except RelaykitError as error:
            say(f"relaykit {name}: {plain(target)}: {describe_error(error)}")
            status = max(status, status_of(error))
    return status
