"""A real API process whose server's code does not return: it serves what needs none of it, says where, and ends."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from relaykit.shared.settings import Settings
from tests.support.clients.stream_clients import PING, asking
from tests.support.servers.blocking_site import DOOR, Door
from tests.support.servers.relay_servers import Script, open_gate
from tests.support.system import create, running_processes, wait_until

TRANSCRIBE = {"type": "input.transcribe", "params": {"audio_base64": "AAAA", "mime_type": "audio/webm"}}
DELTAS = 20


async def test_a_process_whose_server_blocks_for_ever_relays_and_answers_and_ends_when_it_is_told(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, folder = tmp_path / "gate", tmp_path / "door"
    folder.mkdir()
    monkeypatch.setenv(DOOR, str(folder))
    door = Door()
    given = settings.model_copy(
        update={
            "chatkit_server": "tests.support.servers.blocking_site:Blocking",
            "ping_seconds": 0.1,
            "drain_seconds": 1,
        }
    )
    script = Script(deltas=DELTAS, gate=str(gate), holds=list(range(DELTAS)))
    async with running_processes(given, tmp_path, **{DOOR: str(folder)}) as system:
        alice = await system.caller("alice")
        api = system.api_processes[0]
        async with asking(alice, create(str(script))) as stream:
            await stream.until("it began", lambda answer: answer.of_type("thread.item.added"))
            door.shut("transcribe")
            blocked = asyncio.create_task(alice.post(TRANSCRIBE))
            await wait_until("the call stands", lambda: door.stands("transcribe"))
            for number in range(DELTAS - 1):
                open_gate(gate, number)
                await stream.until(
                    "the next delta",
                    lambda answer, number=number: len(answer.of_type("thread.item.updated")) > number,
                )
                assert (await alice.client.get("/healthz")).status_code == 200
                assert (await alice.get(f"/runs/{stream.run_id}")).json()["status"] == "running"
            pings = stream.raw.count(PING)
            await stream.until("pings", lambda _: stream.raw.count(PING) > pings + 2)
            await wait_until("the place is told", lambda: "loop_blocked" in api.output)
            line = next(line for line in api.output.splitlines() if "loop_blocked" in line)
            place = json.loads(line)["place"]
            assert place.endswith(":block"), place
            assert "tests/support/servers/blocking_site.py:" in place, place
            assert not blocked.done()
            await asyncio.to_thread(api.terminate)
            assert (await stream.finished()).end is None
            await asyncio.gather(blocked, return_exceptions=True)
        assert "server_left" in api.output
        assert door.stands("transcribe")
        assert door.was_opened("transcribe"), "the process waited for the call"
