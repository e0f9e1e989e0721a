"""What docs/your-store.md, docs/your-context.md and docs/migrate.md show as code runs, as it stands there."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest

from relaykit.shared.settings import Settings
from tests.support.system import ROOT, create, fork_process, running, running_processes

BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
FILE = {"name": "a.txt", "size": 3, "mime_type": "text/plain"}
CUSTOMERS = """
from types import SimpleNamespace

class Customers:
    async def find(self, user_id):
        return SimpleNamespace(name="Alice") if user_id == "alice" else None

customers = Customers()
"""
TELLING = """
from shop.files import ShopServer as Documented
from chatkit.types import ProgressUpdateEvent


class ShopServer(Documented):
    async def respond(self, thread, input_user_message, context):
        assert self.attachment_store.store is self.store
        yield ProgressUpdateEvent(text=f"{context.name} reads {context.article_id}")
"""
CARTS = """
from typing import Any

from chatkit.server import ChatKitServer
from chatkit.types import ProgressUpdateEvent
from fastapi import FastAPI


class CartServer(ChatKitServer[Any]):
    async def respond(self, thread, input_user_message, context):
        thread.metadata["cart"] = {"tea": 1}
        await self.store.save_thread(thread, context)
        yield ProgressUpdateEvent(text="bought")


app = FastAPI()
server = CartServer(store=None)
"""


def _page(name: str) -> str:
    return (ROOT / "docs" / name).read_text()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Path]:
    """A folder with the page's two examples as modules of the site's."""
    pages = "".join(_page(name) for name in ("your-store.md", "your-context.md"))
    files, context = BLOCK.findall(pages)
    [carts] = [block for block in BLOCK.findall(_page("migrate.md")) if "cart" in block]
    shop = tmp_path / "site" / "shop"
    shop.mkdir(parents=True)
    for name, source in {
        "__init__": "",
        "files": files,
        "customers": CUSTOMERS,
        "context": context,
        "chat": TELLING,
        "web": CARTS,
        "carts": carts,
    }.items():
        (shop / f"{name}.py").write_text(source)
    path = list(sys.path)
    yield shop.parent
    sys.path[:] = path
    for name in [name for name in sys.modules if name.partition(".")[0] == "shop"]:
        del sys.modules[name]


@pytest.fixture
def of_the_site(settings: Settings, site: Path) -> Settings:
    names = {"chatkit_server": "shop.chat:ShopServer", "chatkit_context": "shop.context:context"}
    return settings.model_copy(update={"app_dir": site, "context_headers": ("article-id",), **names})


async def test_the_context_refuses_who_is_no_customer_and_reads_a_header_field(of_the_site: Settings) -> None:
    async with running(of_the_site) as system:
        alice, bob = await system.caller("alice"), await system.caller("bob")
        answer = await alice.stream(create("hi"), {"article-id": "featured"})
        assert answer.of_type("progress_update")[0]["text"] == "Alice reads featured"
        response = await bob.post(create("hi"))
        refusal = {"code": "server_refused", "message": "This chat is for customers."}
        assert (response.status_code, response.json()) == (403, {"error": refusal})


async def test_the_attachment_store_has_the_store_of_the_server(
    of_the_site: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    """It finds in it what the API has stored; nothing is warned of."""
    async with running(of_the_site, workers=0) as system:
        alice = await system.caller("alice")
        file = await alice.ask({"type": "attachments.create", "params": FILE})
        assert await _attachments(of_the_site) == [file["id"]]
        await alice.ask({"type": "attachments.delete", "params": {"attachment_id": file["id"]}})
        assert await _attachments(of_the_site) == []
    assert "store_replaced" not in capsys.readouterr().out


async def _attachments(settings: Settings) -> list[Any]:
    database = await asyncpg.connect(settings.database_url)
    try:
        return [row["id"] for row in await database.fetch("SELECT id FROM attachments")]
    finally:
        await database.close()


async def test_a_route_with_a_threads_id_answers_its_owner_alone(
    of_the_site: Settings, tmp_path: Path
) -> None:
    """With what `respond()`, in the worker's process, has put into the thread's metadata."""
    names = {"chatkit_server": "shop.web:server", "chatkit_app": "shop.carts:app", "chatkit_context": None}
    carts = of_the_site.model_copy(update=names)
    async with running_processes(carts, tmp_path, start=fork_process) as system:
        alice, bob = await system.caller("alice"), await system.caller("bob")
        thread_id = (await alice.stream(create("buy"))).thread_id
        assert (await alice.get(f"/carts/{thread_id}")).json() == {"tea": 1}
        assert (await bob.get(f"/carts/{thread_id}")).status_code == 404
        assert (await _status_for_nobody(system.urls[0], f"/carts/{thread_id}")) == 401


async def _status_for_nobody(url: str, path: str) -> int:
    async with httpx2.AsyncClient(base_url=url) as client:
        return (await client.get(path)).status_code
