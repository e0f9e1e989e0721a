"""`relaykit users export` and `erase`."""

from __future__ import annotations

import argparse

from relaykit.operator_commands.confirmation import actor, require_yes
from relaykit.operator_commands.export_file import write_lines
from relaykit.operator_commands.printing import plain, say
from relaykit.operator_commands.run_command import run_command
from relaykit.operator_commands.services import OperatorServices
from relaykit.operator_commands.threads import found_or_swept, print_erased
from relaykit.shared.errors import SettingsError
from relaykit.shared.operating.act_errors import UserNotFound
from relaykit.shared.owner import Owner

ELSEWHERE = "threads are in the site's own store, and the site's to export and erase"


def export(given: argparse.Namespace) -> int:
    async def work(services: OperatorServices) -> int:
        services.need(redis=False)
        owner = await _known(services, given)
        if services.settings.chatkit_store != "postgres":
            say(f"relaykit users export: {ELSEWHERE}")
        await write_lines(services.export().user(owner), "users export", given.to)
        return 0

    return run_command("users export", work)


def erase(given: argparse.Namespace) -> int:
    async def work(services: OperatorServices) -> int:
        services.need()
        owner = await found_or_swept(services, "users erase", _known(services, given))
        require_yes(f"Erase all that is here of user {_named(owner)}?", yes=given.yes)
        erasing = services.erasure().user(owner, actor(given.by))
        return await print_erased(services, "users erase", erasing, ELSEWHERE, as_json=given.json)

    return run_command("users erase", work)


async def _known(services: OperatorServices, given: argparse.Namespace) -> Owner:
    """Raises UserNotFound, and SettingsError where a tenant is required."""
    if given.tenant is None and services.settings.jwt_tenant_required:
        raise SettingsError("users have a tenant here (JWT_TENANT_REQUIRED): --tenant names it")
    owner = Owner(tenant=given.tenant or "", user_id=given.user)
    if not await services.threads.is_known(owner):
        raise UserNotFound(f"Nothing is here of user {_named(owner)}.")
    return owner


def _named(owner: Owner) -> str:
    return plain(owner.user_id) + (f" of tenant {plain(owner.tenant)}" if owner.tenant else "")
