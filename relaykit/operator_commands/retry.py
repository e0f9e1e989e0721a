"""`relaykit runs retry`: the one act that needs the site's server."""

from __future__ import annotations

import argparse
import asyncio

from relaykit.api.admission.admission import Admission
from relaykit.api.admission.retry import check_retried, retry_noted
from relaykit.api.loading import load_api_server
from relaykit.api.resources import opened_admission
from relaykit.operator_commands.confirmation import actor, require_yes
from relaykit.operator_commands.printing import say
from relaykit.operator_commands.run_acts import each, found_runs, question
from relaykit.operator_commands.run_command import guarded
from relaykit.operator_commands.services import OperatorServices, few_connections, opened_services
from relaykit.shared.attachments.store import open_attachment_objects
from relaykit.shared.postgres.database import Database
from relaykit.shared.process.main_loop import MainLoop, raising_at_ctrl_c
from relaykit.shared.settings import Settings
from relaykit.shared.site.loaded_server import LoadedServer


def retry(given: argparse.Namespace) -> int:
    """Ends the process, within a bound, whatever is left of the site's code."""
    loop = MainLoop()

    def call(settings: Settings) -> int:
        settings = few_connections(settings)
        database = Database(settings)
        server = load_api_server(settings, database, open_attachment_objects(settings, database))
        return loop.run(_retry(given, settings, database, server), cancels_at_ctrl_c=True)

    loop.end(guarded("runs retry", call))


async def _retry(
    given: argparse.Namespace, settings: Settings, database: Database, server: LoadedServer
) -> int:
    async with opened_services(settings, database) as services:
        services.need()
        runs = await found_runs(services, given.runs)
        for run in runs:
            check_retried(run)
        task = asyncio.current_task()
        assert task is not None
        with raising_at_ctrl_c(task):
            require_yes(question("Delete the answer, and make it again", runs), yes=given.yes)
        by = actor(given.by)
        async with opened_admission(settings, database, server) as admission:
            return await each(
                "runs retry", given.runs, lambda run_id: _retried(services, admission, run_id, by)
            )


async def _retried(services: OperatorServices, admission: Admission, run_id: str, by: str) -> str:
    _, is_new, outcome = await retry_noted(services.audit, services.reader, admission, run_id, by)
    if is_new and services.settings.forward_token:
        say(f"{run_id}: the new run has no token of its caller's")
    return outcome
