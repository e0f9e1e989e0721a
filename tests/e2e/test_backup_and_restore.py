"""The commands of docs/operations.md, "Backup and restore", bring everything back: threads, files, runs under way."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from relaykit.local.postgres_files import _installed
from relaykit.shared.settings import Settings
from tests.support.clients.stream_clients import asking, crowd
from tests.support.repository.shell_blocks import SHELL, blocks
from tests.support.sample_attachment import PNG, attachment_of
from tests.support.servers.relay_servers import Script, ScriptedAnswers, open_gate
from tests.support.services.own_postgres import OwnPostgres, own_postgres
from tests.support.system import (
    ROOT,
    Caller,
    create,
    environment,
    free_port,
    keyed,
    make_settings,
    message,
    running,
    wait_until,
)

pytestmark = pytest.mark.long

HOLD = 3
PAGE = ROOT / "docs" / "operations.md"


@pytest.fixture
def server() -> Iterator[OwnPostgres]:
    with own_postgres() as own:
        yield own


@pytest.fixture
def redis_url(redis_url: str) -> str:
    """With the user's name, which redis-cli 6.2 needs."""
    return redis_url.replace("://:", "://default:")


def documented() -> tuple[str, str]:
    """What backs up, and what restores."""
    section = PAGE.read_text().split("\n## Backup and restore\n")[1].split("\n## ")[0]
    backup, restore = [block.text for block in blocks(section) if block.language == SHELL]
    return backup, restore


def execute(commands: str, settings: Settings, folder: Path, attachments: Path) -> str:
    """As a shell of the operator's would, with the settings of a process. Fails where one of them does."""
    programs = folder / "bin"
    programs.mkdir(exist_ok=True)
    command = programs / "relaykit"  # which a checkout has not installed
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m relaykit "$@"\n')
    command.chmod(0o755)
    paths = (programs, Path(sys.executable).parent, _installed() / "bin", os.environ["PATH"])
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=folder,
        env={
            **environment(settings),
            "PATH": ":".join(map(str, paths)),
            "ATTACHMENTS_FOLDER": str(attachments),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{commands}\n{done.stdout}\n{done.stderr}"
    return done.stdout


async def read(alice: Caller, thread_id: str) -> list[Any]:
    """Thread and items, without the links, which are signed anew; and the bytes of the image that was sent."""
    thread = await alice.ask({"type": "threads.get_by_id", "params": {"thread_id": thread_id}})
    items = await alice.items(thread_id)
    images = []
    for attachment in items[0].get("attachments", []):
        given = await alice.client.get(attachment.pop("preview_url"))
        assert given.status_code == 200
        images.append(given.content)
    thread.pop("items")
    return [thread, items, images]


async def ended(alice: Caller, run_id: str) -> dict[str, Any]:
    async def look() -> dict[str, Any] | None:
        shown = await alice.get(f"/runs/{run_id}")
        assert shown.status_code == 200, shown.text
        return shown.json() if shown.json()["status"] not in ("waiting", "queued", "running") else None

    return await wait_until(f"{run_id} has ended", look)


async def test_what_was_dumped_is_there_again_and_what_was_accepted_is_answered(
    server: OwnPostgres, redis_url: str, issuer_key_file: Path, tmp_path: Path
) -> None:
    """Dumped while it runs, with one run under way, one that waits behind it, and one that is queued."""
    folders = [tmp_path / "attachments", tmp_path / "restored"]
    for folder in folders:
        folder.mkdir()
    gate = tmp_path / "gate"
    gate.mkdir()
    port = free_port()
    settings = make_settings(
        redis_url,
        server.url,
        issuer_key_file,
        port,
        attachments_url=folders[0].as_uri(),
        attachments_key="k" * 43,
        public_url=f"http://127.0.0.1:{port}",
        forward_token=True,
        forward_token_key="t" * 43,
        max_runs=1,
    )
    backup, restore = documented()
    held = str(Script(deltas=5, gate=str(gate), holds=[HOLD]))
    async with running(settings, ScriptedAnswers) as system:
        alice = await crowd(system, await system.caller())
        image = await attachment_of(alice)
        whole = await alice.stream(create(str(Script()), attachments=[image["id"]]))
        before = await read(alice, whole.thread_id)
        assert before[2] == [PNG]
        async with asking(alice, create(held), keyed(1)) as asker:
            await asker.until("mid-answer", lambda answer: len(answer.of_type("thread.item.updated")) >= HOLD)
            under_way, cursor = asker.answer.run_id, asker.answer.frames[-1][0]
            async with (
                alice.open_stream(message(asker.answer.thread_id, str(Script())), keyed(2)) as waiting,
                alice.open_stream(create(str(Script())), keyed(3)) as queued,
            ):
                accepted = [under_way, waiting.headers["x-run-id"], queued.headers["x-run-id"]]
                statuses = [(await alice.get(f"/runs/{run_id}")).json()["status"] for run_id in accepted]
                assert statuses == ["running", "waiting", "queued"]
                await asyncio.to_thread(execute, backup, settings, tmp_path, folders[0])

    server.execute("CREATE DATABASE restored", "postgres")
    restored_url = f"{server.url.rpartition('/')[0]}/restored"
    restored = settings.model_copy(
        update={"database_url": restored_url, "attachments_url": folders[1].as_uri()}
    )
    said = await asyncio.to_thread(execute, restore, restored, tmp_path, folders[1])
    assert "redis: ok" in said
    open_gate(gate, HOLD)
    with capture_logs() as logs:
        async with running(restored, ScriptedAnswers) as system:
            alice = await crowd(system, await system.caller())
            assert await read(alice, whole.thread_id) == before
            ends = [await ended(alice, run_id) for run_id in accepted]
            assert [end["status"] for end in ends] == ["completed"] * 3
            assert [end["attempt"] for end in ends] == [2, 1, 1]
            assert len(await alice.items(ends[0]["thread_id"])) == 4, "two messages and their answers"
            for run_id, at in (
                (whole.run_id, whole.frames[-2][0]),
                (whole.run_id, None),
                (under_way, cursor),
            ):
                gone = await alice.resume(run_id, at)
                assert gone.status == 410, (run_id, at)
                assert b'"journal_gone"' in gone.raw
            assert (await alice.stream(message(whole.thread_id, str(Script())))).end == "completed"
    assert "deployment_waits" not in {line["action"] for line in logs}


async def test_a_redis_that_was_not_emptied_is_waited_for_and_what_it_has_of_later_does_no_harm(
    server: OwnPostgres, redis_url: str, issuer_key_file: Path, tmp_path: Path
) -> None:
    """The note of the old database ends by itself; a run that is younger than the dump is absent."""
    folder = tmp_path / "attachments"
    folder.mkdir()
    settings = make_settings(redis_url, server.url, issuer_key_file, free_port())
    backup, restore = documented()
    async with running(settings, ScriptedAnswers) as system:
        alice = await crowd(system, await system.caller())
        older = await alice.stream(create(str(Script())))
        await asyncio.to_thread(execute, backup, settings, tmp_path, folder)
        younger = await alice.stream(create(str(Script(deltas=3))))
    server.execute("CREATE DATABASE restored", "postgres")
    restored = settings.model_copy(update={"database_url": f"{server.url.rpartition('/')[0]}/restored"})
    kept = restore.replace('redis-cli -u "$REDIS_URL" flushdb\n', "")
    assert kept != restore
    with capture_logs() as logs:
        await asyncio.to_thread(execute, kept, restored, tmp_path, folder)
        async with running(restored, ScriptedAnswers) as system:
            alice = await crowd(system, await system.caller())
            assert (await alice.get(f"/runs/{younger.run_id}")).status_code == 404
            assert (await alice.resume(younger.run_id, None)).status == 404
            assert (await alice.get(f"/runs/{older.run_id}")).json()["status"] == "completed"
            assert (await alice.stream(message(older.thread_id, str(Script())))).end == "completed"
    assert {"bad_setting", "deployment_shared"}.isdisjoint(line["action"] for line in logs)
