"""`<relaykit-chat>` behind the hook of React: what is typed and not sent stays with the user who typed it."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Browser, expect

from tests.e2e.client.site_processes import Site, serve_two_users_page
from tests.e2e.client.test_element import ELEMENT, message_box
from tests.e2e.client.visitor import Visitor


def test_the_hook_hands_the_option_on(browser: Browser, site: Site, tmp_path: Path) -> None:
    visitor = Visitor(browser, site.address, "ada-with-drafts")
    visitor.serve_chatkit_script(ELEMENT)
    serve_two_users_page(visitor, tmp_path)
    page = visitor.page
    page.goto("/built/index.html?user=ada-with-drafts&user=bob-with-drafts&drafts")
    message_box(page).fill("Where is my parcel")
    page.reload()
    expect(message_box(page)).to_have_value("Where is my parcel")
    page.get_by_role("button", name="Be Bob").click()
    expect(page.get_by_role("heading", name="bob-with-drafts")).to_be_visible()
    expect(message_box(page)).to_have_value("")
    message_box(page).fill("Mine")
    page.reload()
    expect(message_box(page)).to_have_value("Where is my parcel")
    visitor.context.close()
    assert visitor.errors == []
