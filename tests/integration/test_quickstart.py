"""What docs/quickstart.md shows as code runs, as it stands there."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from relaykit.shared.settings import Settings
from tests.support.system import ROOT, create, running

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


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Path]:
    """A folder with the page's two examples as modules of the site's."""
    files, context = BLOCK.findall((ROOT / "docs" / "quickstart.md").read_text())
    shop = tmp_path / "site" / "shop"
    shop.mkdir(parents=True)
    for name, source in {
        "__init__": "",
        "files": files,
        "customers": CUSTOMERS,
        "context": context,
        "chat": TELLING,
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
