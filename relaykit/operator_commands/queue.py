"""`relaykit queue`: its figures, and whose runs they are."""

from __future__ import annotations

import argparse

from relaykit.operator_commands.printing import duration, print_fields, print_json, print_table
from relaykit.operator_commands.run_command import run_command
from relaykit.operator_commands.services import OperatorServices
from relaykit.shared.operating import shapes
from relaykit.shared.operating.queue_figures import QueueState

CALLERS_SHOWN = 10
HEADS = ("TENANT", "USER", "QUEUED", "RUNNING", "WAITING", "OLDEST DUE")


def queue(given: argparse.Namespace) -> int:
    async def work(services: OperatorServices) -> int:
        services.need()
        state = await services.figures.ask()
        callers = await services.figures.busiest(CALLERS_SHOWN)
        if given.json:
            print_json(shapes.queue(state, callers))
            return 0
        print_fields(queue_fields(state))
        if callers:
            print()
            print_table(
                HEADS,
                [
                    (*load.owner, load.queued, load.running, load.waiting, duration(load.oldest_due_seconds))
                    for load in callers
                ],
            )
        return 0

    return run_command("queue", work)


def queue_fields(state: QueueState) -> dict[str, object]:
    oldest = f", the oldest for {duration(state.oldest_due_seconds)}" if state.due else ""
    return {
        "due": f"{state.due}{oldest}",
        "running": state.running,
        "waiting": state.waiting,
        "workers": f"{state.claiming} that take runs, {state.draining} that drain",
        "slots": f"{state.used} used of {state.slots}",
    }
