"""nginx and HAProxy with the files of deploy/proxies while Redis is away: from all APIs, or from one of them."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest

from relaykit.shared.settings import Settings
from tests.support.network.certificates import made_certificates
from tests.support.network.deployed_proxies import program, proxied
from tests.support.network.links import Link
from tests.support.servers.relay_servers import Script
from tests.support.system import Caller, Processes, create, keyed, running_processes, wait_until

pytestmark = pytest.mark.deploy

IN_A_ROW = 12


@dataclass
class Stage:
    """A proxy in front of two APIs, each of which has a link to Redis of its own."""

    alice: Caller
    """At the proxy."""
    links: list[Link]
    system: Processes

    async def is_accepted(self, key: object) -> bool:
        return (await self.alice.post(create(str(Script())), keyed(key))).status_code == 200

    async def ready(self, api: int) -> tuple[int, list[str]]:
        async with httpx2.AsyncClient(base_url=self.system.urls[api]) as client:
            response = await client.get("/readyz")
        return response.status_code, response.json().get("warnings", [])


@asynccontextmanager
async def standing(name: str, settings: Settings, folder: Path) -> AsyncIterator[Stage]:
    program(name)
    given = settings.model_copy(
        update={"chatkit_server": "tests.support.servers.relay_servers:ScriptedAnswers"}
    )
    certificates = made_certificates(folder)
    tls = ssl.create_default_context(cafile=certificates.root)
    async with AsyncExitStack() as stack:
        links = [await stack.enter_async_context(Link(settings.redis_url)) for _ in range(2)]
        system = await stack.enter_async_context(running_processes(given, folder, apis=0))
        for link in links:
            await system.start_api(REDIS_URL=link.url)
        ports = [urlsplit(url).port or 0 for url in system.urls]
        place = stack.enter_context(proxied(name, folder / name, ports, certificates))
        client = await stack.enter_async_context(
            httpx2.AsyncClient(base_url=place.url, verify=tls, timeout=60)
        )
        alice = replace(await system.caller(), client=client)

        async def answers() -> bool:
            place.assert_runs()
            try:
                return (await client.get("/healthz")).status_code == 200
            except httpx2.TransportError:
                return False

        await wait_until(f"{name} answers", answers)
        yield Stage(alice, links, system)


@pytest.mark.parametrize("name", ["nginx", "haproxy"])
async def test_threads_are_read_through_it_while_redis_is_away_from_both(
    name: str, settings: Settings, tmp_path: Path
) -> None:
    async with standing(name, settings, tmp_path) as stage:
        thread_id = (await stage.alice.stream(create(str(Script())))).thread_id
        for link in stage.links:
            link.refuse()

        async def both_warn() -> bool:
            found = [await stage.ready(api) for api in range(2)]
            return all(status == 200 and "redis_unavailable" in warnings for status, warnings in found)

        await wait_until("both APIs know", both_warn)
        for _ in range(IN_A_ROW):
            assert len(await stage.alice.items(thread_id)) == 2
            assert not await stage.is_accepted("refused")
        for link in stage.links:
            await link.listen()
        await wait_until("messages are accepted", lambda: stage.is_accepted("accepted"))


async def test_haproxy_leaves_the_one_api_that_is_cut_off_and_every_message_is_accepted(
    settings: Settings, tmp_path: Path
) -> None:
    async with standing("haproxy", settings, tmp_path) as stage:
        stage.links[0].refuse()

        async def is_left() -> bool:
            return (await stage.ready(0))[0] == 503

        await wait_until("the API that is cut off is not ready", is_left)
        rounds = iter(range(1_000))

        async def all_are_accepted() -> bool:
            number = next(rounds)
            return all([await stage.is_accepted(f"{number}-{n}") for n in range(IN_A_ROW)])

        await wait_until(f"{IN_A_ROW} messages in a row are accepted", all_are_accepted)
