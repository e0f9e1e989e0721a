"""A real Prometheus on loopback, with the rules of deploy/, that scrapes the processes of a test."""

from __future__ import annotations

import json
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from tests.prometheus.rules import RULES
from tests.support.processes.programs import required
from tests.support.system import START_SECONDS, free_port, wait_until

EVERY = "1s"


@dataclass(frozen=True)
class Prometheus:
    client: httpx2.AsyncClient
    folder: Path

    def scrape(self, side: str, ports: Sequence[int]) -> None:
        """From now on it scrapes these ports of 127.0.0.1 as the targets of the side's job."""
        written = self.folder / f"{side}.new"
        written.write_text(json.dumps([{"targets": [f"127.0.0.1:{port}" for port in ports]}]))
        written.replace(_targets(self.folder, side))

    async def query(self, expression: str) -> list[dict[str, Any]]:
        """The samples of now. Fails where Prometheus does not understand the expression."""
        response = await self.client.get("/api/v1/query", params={"query": expression})
        assert response.status_code == 200, f"{expression}: {response.text}"
        found = response.json()["data"]["result"]
        assert isinstance(found, list)
        return found

    async def alerts(self) -> dict[str, str]:
        """The alerts that are pending or firing, each with its state."""
        response = await self.client.get("/api/v1/alerts")
        return {each["labels"]["alertname"]: each["state"] for each in response.json()["data"]["alerts"]}

    async def ready(self) -> bool:
        try:
            return (await self.client.get("/-/ready")).status_code == 200
        except httpx2.TransportError:
            return False


def _targets(folder: Path, side: str) -> Path:
    return folder / f"targets-{side}.json"


@asynccontextmanager
async def prometheus(
    folder: Path, rules: Path = RULES, **ports: int | Sequence[int]
) -> AsyncIterator[Prometheus]:
    """Scrapes 127.0.0.1 at `api` and `worker`, each a port or several, under the names of the jobs in deploy/."""
    program, port = required("prometheus"), free_port()
    config = folder / "prometheus.json"
    config.write_text(
        json.dumps(
            {
                "global": {"scrape_interval": EVERY, "scrape_timeout": EVERY, "evaluation_interval": EVERY},
                "rule_files": [str(rules)],
                "scrape_configs": [
                    {
                        "job_name": f"relaykit-{side}",
                        "file_sd_configs": [
                            {"files": [str(_targets(folder, side))], "refresh_interval": EVERY}
                        ],
                    }
                    for side in ports
                ],
            }
        )
    )
    log = folder / "prometheus.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                program,
                f"--config.file={config}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            server = Prometheus(client, folder)
            for side, given in ports.items():
                server.scrape(side, [given] if isinstance(given, int) else given)

            async def ready() -> bool:
                assert process.poll() is None, log.read_text()
                return await server.ready()

            await wait_until("Prometheus is ready", ready, START_SECONDS)
            yield server
    finally:
        process.kill()
        process.wait()
