"""Behind an nginx that keeps its connections to the API, some of a network away: no POST meets one that is closing."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import httpx2
import pytest

from relaykit.shared.settings import Settings
from tests.e2e.test_compressing_proxies import proxy, required
from tests.support.network.links import Link
from tests.support.network.nginx import nginx_http, nginx_main
from tests.support.servers.relay_servers import ScriptedAnswers
from tests.support.system import ROOT, Caller, running, wait_until

OF_NGINX, OF_THE_API = 1.0, 2.0
"""Seconds that each keeps an idle connection: nginx gives it up first."""
LATENCY_SECONDS = 0.025
CLIENTS = 24
AROUND_SECONDS = (-0.05, 0.3)
"""The API looks at idle connections eight times within the shortest of its waits."""
LIST = {"type": "threads.list", "params": {}}
NGINX = """
{main}
events {{ worker_connections 256; }}
http {{
  {http}
  log_format kept "$status $upstream_addr $upstream_connect_time";
  upstream api {{ server 127.0.0.1:{api_port}; keepalive 64; keepalive_timeout {timeout}; }}
  server {{
    listen 127.0.0.1:{port};
    access_log {folder}/access.log kept;
    location / {{ proxy_pass http://api; proxy_http_version 1.1; proxy_set_header Connection ""; }}
  }}
}}
"""


def nginx(folder: Path, port: int, api_port: int) -> list[str]:
    timeout = f"{int(OF_NGINX * 1000)}ms"
    parts = {"main": nginx_main(folder), "http": nginx_http(folder), "folder": folder}
    config = NGINX.format(port=port, api_port=api_port, timeout=timeout, **parts)
    (folder / "nginx.conf").write_text(config)
    return [required("nginx"), "-p", str(folder), "-c", str(folder / "nginx.conf")]


def pauses() -> list[float]:
    """Around the moments at which either side gives up an idle connection."""
    first, last = AROUND_SECONDS
    step = (last - first) / (CLIENTS - 1)
    return [kept + first + number * step for kept in (OF_NGINX, OF_THE_API) for number in range(CLIENTS)]


async def test_no_post_after_a_pause_is_a_502(settings: Settings, tmp_path: Path) -> None:
    kept = settings.model_copy(update={"keep_alive_seconds": OF_THE_API})
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
    async with running(kept, ScriptedAnswers, workers=0) as system, Link(system.urls[0]) as link:
        link.delay_seconds = lambda: LATENCY_SECONDS
        token = (await system.caller()).token
        with proxy(nginx, tmp_path, link.port) as url:
            async with httpx2.AsyncClient(base_url=url, timeout=httpx2.Timeout(30), limits=limits) as client:
                alice = Caller(client, token)

                async def answers() -> bool:
                    try:
                        return (await client.get("/healthz")).status_code == 200
                    except httpx2.TransportError:
                        return False

                await wait_until("nginx answers", answers)

                async def post_twice(pause_seconds: float) -> int:
                    assert (await alice.post(LIST)).status_code == 200
                    await asyncio.sleep(pause_seconds)
                    return (await alice.post(LIST)).status_code

                for _ in range(2):
                    statuses = await asyncio.gather(*map(post_twice, pauses()))
                    assert statuses == [200] * len(statuses)
        connect_times = re.findall(r"^200 \S+ (\S+)$", (tmp_path / "access.log").read_text(), re.MULTILINE)
        assert connect_times.count("0.000") > CLIENTS, "nginx keeps no connections: this test proves nothing"


@pytest.mark.parametrize("proxy_name", ["nginx", "AWS ALB"])
def test_the_default_is_above_what_balancers_use(proxy_name: str) -> None:
    """Whose defaults stand in docs/operations.md."""
    table = (ROOT / "docs" / "operations.md").read_text()
    (row,) = re.findall(rf"^\| {proxy_name} \| (\d+) s", table, re.MULTILINE)
    assert Settings.model_fields["keep_alive_seconds"].default > int(row)
