"""A user reads on while Redis is away, and what was sent meanwhile is answered when it is back."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Browser, expect

from tests.e2e.client.site_processes import site_of
from tests.e2e.client.test_element import ELEMENT, answers, ask, await_end, await_word, message_box
from tests.e2e.client.visitor import Visitor
from tests.support.services.databases import Databases
from tests.support.services.redis_nodes import redis_node
from tests.support.system import free_port, make_settings


def test_conversations_are_read_while_redis_is_away_and_a_message_is_sent_when_it_is_back(
    browser: Browser, databases: Databases, issuer_key_file: Path, tmp_path: Path
) -> None:
    with databases.fresh() as database_url, redis_node(tmp_path) as redis:
        settings = make_settings(
            redis.url,
            database_url,
            issuer_key_file,
            free_port(),
            chatkit_server="tests.e2e.client.server:ClientServer",
        )
        with site_of(settings, tmp_path) as site:
            visitor = Visitor(browser, site.address, "alice")
            visitor.serve_chatkit_script(ELEMENT)
            page = visitor.page
            page.goto("/react/")
            page.get_by_label("Your name").fill(visitor.name)
            page.get_by_role("button", name="Sign in").click()
            ask(page, "20 at 100")
            await_word(page, 19)
            await_end(page)
            page.get_by_role("button", name="New conversation").click()
            ask(page, "5 at 100")
            await_word(page, 4)
            await_end(page)
            redis.process.kill()
            redis.process.wait()
            page.reload()
            expect(answers(page)).to_have_count(1)
            await_word(page, 4)
            page.locator(".thread-open").last.click()
            await_word(page, 19)
            expect(message_box(page)).to_be_enabled()
            ask(page, "7 at 100")
            expect(page.get_by_text("7 at 100")).to_be_visible()
            with redis_node(tmp_path, "--port", str(redis.port)):
                await_word(page, 6)
                await_end(page)
                expect(answers(page)).to_have_count(2)
                assert visitor.errors == []
                visitor.context.close()
