"""`relaykit threads show`, `export` and `erase`."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Awaitable

from relaykit.operator_commands.confirmation import actor, require_yes
from relaykit.operator_commands.export_file import write_lines
from relaykit.operator_commands.printing import (
    describe_error,
    plain,
    print_fields,
    print_json,
    print_table,
    say,
)
from relaykit.operator_commands.run_command import run_command
from relaykit.operator_commands.services import AWAY, FAILED, OperatorServices
from relaykit.shared.errors import ThreadNotFound
from relaykit.shared.operating.act_errors import UserNotFound
from relaykit.shared.operating.erasure import EARLIER_OBJECTS, KINDS, describe_counts
from relaykit.shared.operating.shapes import jsonable
from relaykit.shared.owner import Owner

HEADS = ("RUN", "STATUS", "TRY", "KIND", "ERROR", "ACCEPTED", "ENDED")
ELSEWHERE = "the thread itself is in the site's own store, and the site's to show, export and erase"


def show(given: argparse.Namespace) -> int:
    async def work(services: OperatorServices) -> int:
        services.need(redis=False)
        owner = await services.threads.owner_of(given.thread)
        found = await services.threads.data(owner, given.thread)
        hidden = ("input", "context", "anchor_item_id", "idempotency_key")
        runs = [
            {name: value for name, value in run.items() if name not in hidden}
            async for run in services.threads.runs(owner, given.thread)
        ]
        items = (
            [item async for item, _ in services.threads.items(owner, given.thread)] if given.content else []
        )
        thread = {"id": given.thread, "tenant": owner.tenant, "user": owner.user_id}
        if found is not None:
            shown = {
                "title": found[0].title,
                "created_at": found[0].created_at,
                "updated_at": found[0].updated_at,
                "items": found[0].items,
                "attachments": found[0].attachments,
            }
            thread |= shown
        if given.json:
            print_json({**jsonable(thread), "runs": runs, **({"content": items} if given.content else {})})
            return 0
        print_fields(thread)
        if found is None:
            print(ELSEWHERE)
        print()
        names = ("id", "status", "attempt", "kind", "error", "queued_at", "ended_at")
        print_table(HEADS, [[run[name] for name in names] for run in runs])
        for item in items:
            print_json(item)
        return 0

    return run_command("threads show", work)


def export(given: argparse.Namespace) -> int:
    async def work(services: OperatorServices) -> int:
        services.need(redis=False)
        owner = await services.threads.owner_of(given.thread)
        if await services.threads.data(owner, given.thread) is None:
            say(f"relaykit threads export: {ELSEWHERE}")
        await write_lines(services.export().thread(owner, given.thread), "threads export", given.to)
        return 0

    return run_command("threads export", work)


def erase(given: argparse.Namespace) -> int:
    async def work(services: OperatorServices) -> int:
        services.need()
        owner = await found_or_swept(services, "threads erase", services.threads.owner_of(given.thread))
        found = await services.threads.data(owner, given.thread)
        what = "the runs of a thread in the site's own store" if found is None else f"{found[0].items} items"
        of = plain(owner.user_id) + (f" of {plain(owner.tenant)}" if owner.tenant else "")
        require_yes(f"Erase thread {plain(given.thread)} of user {of}, with {what}?", yes=given.yes)
        erasing = services.erasure().thread(given.thread, actor(given.by))
        return await print_erased(services, "threads erase", erasing, ELSEWHERE, as_json=given.json)

    return run_command("threads erase", work)


async def found_or_swept(services: OperatorServices, name: str, finding: Awaitable[Owner]) -> Owner:
    """Whose it is. Where nothing is here any more, the bytes go that an erasure which failed has left."""
    try:
        return await finding
    except (ThreadNotFound, UserNotFound):
        say_left(name, await services.erasure().sweep())
        raise


def say_left(name: str, objects: int) -> None:
    """Says how many objects of earlier deletions there are that the store does not remove."""
    if objects:
        say(
            f"relaykit {name}: {objects} objects of attachments that were deleted before could not be removed: a "
            "worker tries again"
        )


async def print_erased(
    services: OperatorServices, name: str, erasing: Awaitable[Counter[str]], elsewhere: str, *, as_json: bool
) -> int:
    """Erases, and says what it was; the exit status. `elsewhere` is said where threads are in the site's own store."""
    try:
        erased = await erasing
    except AWAY as error:
        say(f"relaykit {name}: {describe_error(error)} Do it again: it may be done in part.")
        return FAILED
    if as_json:
        print_json({kind: erased[kind] for kind in KINDS})
    else:
        print(f"erased: {describe_counts(erased)}")
    say_left(name, erased[EARLIER_OBJECTS])
    if services.settings.chatkit_store != "postgres":
        say(f"relaykit {name}: {elsewhere}")
    return 0
