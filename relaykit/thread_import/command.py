"""What `relaykit import-threads` does with its arguments, and what it prints."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from tqdm import tqdm

from relaykit.shared.attachments.store import attachment_rules, open_attachment_objects
from relaykit.shared.crashes import site_code
from relaykit.shared.errors import (
    DatabaseUnavailable,
    RelaykitError,
    ServerLoadError,
    SettingsError,
    Stopping,
    StorageUnavailable,
)
from relaykit.shared.log import configure, failure
from relaykit.shared.owner import Owner
from relaykit.shared.postgres.database import Database
from relaykit.shared.settings import Settings, load_settings
from relaykit.shared.site.attributes import add_site_folder, load_attribute
from relaykit.thread_import.attachments import AttachmentImport
from relaykit.thread_import.importer import PROBLEMS, Importer, Outcome
from relaykit.thread_import.reading import StoreMistake, threads_of
from relaykit.thread_import.rows import ImportRows
from relaykit.thread_import.sources import ThreadSource, sources_of

FAILED = 1
BAD_USAGE = 2
ENDING = (SettingsError, ServerLoadError, DatabaseUnavailable, StorageUnavailable, Stopping)
"""What ends the whole import; anything else is of one thread or one user."""


@dataclass
class Report:
    """What came of all threads."""

    outcomes: Counter[Outcome] = field(default_factory=Counter)
    items: int = 0
    """Of the threads that could be read."""
    failed: int = 0

    def lines(self, *, dry_run: bool) -> list[str]:
        read = sum(self.outcomes.values()) + self.failed
        done = "would be done" if dry_run else "done"
        found = [f"{count} {outcome}" for outcome in Outcome if (count := self.outcomes[outcome])]
        if self.failed:
            found.append(f"{self.failed} failed")
        return [f"{read} threads read; {done}: {', '.join(found) or 'nothing'}; items: {self.items}"]

    @property
    def is_well(self) -> bool:
        return not self.failed and not any(self.outcomes[problem] for problem in PROBLEMS)


def main(name: str, *, user_id: str | None, tenant: str | None, dry_run: bool) -> int:
    """0 where all threads stand here or were changed here on purpose; 1 where some do not; 2 for bad usage."""
    try:
        settings = load_settings()
        configure("error", settings.log_format)
        add_site_folder(settings)
        found = load_attribute("import-threads", name)
        return asyncio.run(_run(settings, name, found, user_id, tenant, dry_run))
    except RelaykitError as error:
        _say(f"{error.code}: {error.message}")
        return BAD_USAGE if isinstance(error, (SettingsError, ServerLoadError)) else FAILED
    except KeyboardInterrupt:
        _say("stopped; run it again, and it goes on where it was")
        return FAILED


async def _run(
    settings: Settings, name: str, found: Any, user_id: str | None, tenant: str | None, dry_run: bool
) -> int:
    if settings.chatkit_store != "postgres":
        raise SettingsError("CHATKIT_STORE=own: threads are imported into Relaykit's own store")
    database, report = Database(settings), Report()
    rules = attachment_rules(settings)
    attachments = AttachmentImport(database, open_attachment_objects(settings, database), rules)
    importer = Importer(ImportRows(database), attachments, dry_run=dry_run)
    owners: dict[str, Owner] = {}
    async with database:
        with tqdm(unit=" threads", disable=None, dynamic_ncols=True, file=sys.stderr) as bar:
            try:
                with site_code:
                    async for source in sources_of(found, user_id=user_id, tenant=tenant):
                        if source.read_attachment is not None and rules is None:
                            raise SettingsError("read_attachment needs ATTACHMENTS_URL")
                        if source.tenant is None and settings.jwt_tenant_required:
                            raise SettingsError(
                                f"user {source.user_id!r} has no tenant, without which no token is taken here"
                            )
                        await _bring_all(importer, source, owners, report, bar)
            except ENDING:
                raise
            except Exception as error:
                report.failed += 1
                _say(f"{name}: {_describe_error(error)}")
    for line in report.lines(dry_run=dry_run):
        print(line)
    return 0 if report.is_well else FAILED


async def _bring_all(
    importer: Importer, source: ThreadSource, owners: dict[str, Owner], report: Report, bar: tqdm[Any]
) -> None:
    """All threads of a source. A thread that cannot be brought keeps no other from it; a service that is away does.

    `owners` are those of the threads so far: a store that gives a thread to two users has it for neither alone.
    """
    who = f"user {source.user_id!r}" + (f" of {source.tenant!r}" if source.tenant else "")
    try:
        with site_code:
            async for thread in threads_of(source):
                try:
                    if owners.setdefault(thread.id, source.owner) != source.owner:
                        raise StoreMistake("the store gives it to another user too")
                    with site_code:
                        outcome, items = await importer.bring(source, thread)
                except ENDING:
                    raise
                except Exception as error:
                    report.failed += 1
                    _say(f"{who}, thread {thread.id!r}: {_describe_error(error)}")
                else:
                    report.outcomes[outcome] += 1
                    report.items += items
                    if outcome in PROBLEMS:
                        _say(f"{who}, thread {thread.id!r}: {outcome}; it was left as it is here")
                bar.update()
    except ENDING:
        raise
    except Exception as error:
        report.failed += 1
        _say(f"{who}: the threads cannot be read: {_describe_error(error)}")


def _describe_error(error: Exception) -> str:
    """One line. An error of ours has its own words; of anything else the type and the place."""
    if isinstance(error, RelaykitError):
        return f"{error.code}: {error.message}"
    if isinstance(error, StoreMistake):
        return str(error)
    told = failure(error)
    frames = [frame for frame in told["frames"] if isinstance(frame, str)]  # type: ignore[attr-defined]
    return f"{told['error_type']} at {frames[-1]}" if frames else str(told["error_type"])


def _say(line: str) -> None:
    with suppress(BrokenPipeError):
        tqdm.write(f"import-threads: {line}", file=sys.stderr)
