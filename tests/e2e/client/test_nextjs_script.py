"""The Next.js example where OpenAI's script does not come."""

from __future__ import annotations

from playwright.sync_api import Browser, expect

from tests.e2e.client.site_processes import Site
from tests.e2e.client.test_nextjs import next_server
from tests.e2e.client.visitor import Visitor

NO_TIMEOUT = """
const begin = setTimeout;
setTimeout = (work, ms, ...given) => begin(work, ms >= 10_000 ? 2 ** 31 - 1 : ms, ...given);
"""


def test_a_script_that_does_not_come_is_told(browser: Browser, site: Site) -> None:
    """Without the timeout: by the browser's list of what it has fetched, as Next.js has asked before it hydrates."""
    with next_server(site, COOKIE_INSECURE="1") as server:
        visitor = Visitor(browser, server.address, "blocked-in-nextjs")
        visitor.context.route("https://cdn.platform.openai.com/**", lambda route: route.abort())
        visitor.context.add_init_script(NO_TIMEOUT)
        visitor.page.goto("/")
        visitor.page.get_by_label("Your name").fill(visitor.name)
        visitor.page.get_by_role("button", name="Sign in").click()
        expect(visitor.page.get_by_text("ChatKit could not be loaded")).to_be_visible()
        visitor.context.close()
