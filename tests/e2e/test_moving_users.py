"""While both run: the proxy of docs/migrate.md, and one user moved after the other, with the threads that they have."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from tests.support.network.nginx import nginx_http, nginx_main
from tests.support.processes.local_mode import LocalMode
from tests.support.processes.programs import required
from tests.support.sites.moved_site import (
    MovedSite,
    answered,
    asked,
    documented_code,
    shop_application,
    streamed,
)
from tests.support.system import WAIT_SECONDS, Answer, create, free_port, message, wait_until

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc"),
]

KEYS = {"alice": "Bearer key-a", "bob": "Bearer key-b"}
THREADS = {"type": "threads.list", "params": {"limit": 10, "order": "desc"}}


@contextmanager
def proxy(folder: Path, old_url: str, new_url: str) -> Iterator[str]:
    """nginx with the configuration of the page, its two upstreams and its port being the test's."""
    port = free_port()
    text = documented_code("migrate.md", "map $cookie_chat")
    for name, url in (("old", old_url), ("relaykit", new_url)):
        address = url.removeprefix("http://")
        text, changed = re.subn(rf"(upstream {name} *\{{ server )[^;]+", rf"\g<1>{address}", text)
        assert changed == 1
    text = text.replace("server {", f"server {{ listen 127.0.0.1:{port};")
    config = folder / "nginx.conf"
    config.write_text(
        f"{nginx_main(folder)} events {{ worker_connections 64; }} http {{ {nginx_http(folder)}\n{text} }}"
    )
    process = subprocess.Popen([required("nginx"), "-p", str(folder), "-c", str(config)])
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(WAIT_SECONDS)


class Customer:
    """One of the shop's, behind the proxy. `is_moved` once the site has set the cookie."""

    def __init__(self, client: httpx2.AsyncClient, name: str) -> None:
        self._client = client
        self._key = KEYS[name]
        self.is_moved = False
        self.thread_id = ""

    @property
    def _headers(self) -> dict[str, str]:
        cookie = {"cookie": "chat=new"} if self.is_moved else {}
        return {"authorization": self._key, **cookie}

    async def asks(self, text: str) -> str:
        request = message(self.thread_id, text) if self.thread_id else create(text)
        answer: Answer = await streamed(self._client, request, self._headers)
        assert (answer.end == "completed") == self.is_moved, "answered by the other of the two"
        self.thread_id = self.thread_id or answer.thread_id
        return answered(answer)

    async def threads(self) -> list[str]:
        return [thread["id"] for thread in (await asked(self._client, THREADS, self._headers))["data"]]

    async def orders(self) -> list[str]:
        return list((await self._client.get("/orders", headers=self._headers)).json())


def imported(shop: MovedSite, mode: LocalMode) -> str:
    done = shop.relaykit(mode, "import-threads", "hooks:threads")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().partition("; ")[2]


async def test_users_are_moved_one_after_the_other(tmp_path: Path, database_url: str) -> None:
    """Each goes on where they were, while those who are not moved yet stay where they are."""
    shop = shop_application(tmp_path, database_url)
    async with shop.by_itself("web:app") as old:
        shop.apply("orders", "after")
        with (
            shop.moved() as mode,
            proxy(tmp_path, str(old.base_url).rstrip("/"), mode.ready().rstrip("/")) as url,
        ):
            async with httpx2.AsyncClient(base_url=url, timeout=WAIT_SECONDS) as client:

                async def answers() -> bool:
                    try:
                        return (await client.get("/orders")).status_code == 401
                    except httpx2.TransportError:
                        return False

                await wait_until("the proxy answers", answers)
                alice, bob = Customer(client, "alice"), Customer(client, "bob")
                assert await alice.asks("one") == "alice has ordered tea (question 1)"
                assert await bob.asks("one") == "bob has ordered milk (question 1)"
                assert imported(shop, mode) == "done: 2 imported; items: 4"

                assert await alice.asks("two") == "alice has ordered tea (question 2)"
                alice.is_moved = True
                assert imported(shop, mode) == "done: 1 updated, 1 unchanged; items: 6"
                assert await alice.asks("three") == "alice has ordered tea (question 3)"
                assert await bob.asks("two") == "bob has ordered milk (question 2)"

                bob.is_moved = True
                assert imported(shop, mode) == "done: 1 updated, 1 gone on here; items: 8"
                assert await bob.asks("three") == "bob has ordered milk (question 3)"
                assert await alice.asks("four") == "alice has ordered tea (question 4)"
                for customer, article in ((alice, "tea"), (bob, "milk")):
                    assert await customer.threads() == [customer.thread_id]
                    assert await customer.orders() == [article]
