"""The React example, built for production: @openai/chatkit-react on the hook, with a stand-in for the stock element."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.client.server import held
from tests.e2e.client.site_processes import PAGE, Site, serve_two_users_page
from tests.e2e.client.visitor import WAIT_MS, Visitor
from tests.e2e.page.cutting_proxy import CuttingProxy

WORDS = 200
ANSWER = f"{WORDS} at 40"
"""Five seconds."""
NO_TIMEOUT = """
const begin = setTimeout;
setTimeout = (work, ms, ...given) => begin(work, ms >= 10_000 ? 2 ** 31 - 1 : ms, ...given);
performance.setResourceTimingBufferSize(0);
"""


@pytest.fixture
def signed_in(browser: Browser, site: Site, request: pytest.FixtureRequest):
    """Signs a visitor in to the example. At the end its page has had no error of its own."""
    made: list[Visitor] = []

    def sign_in(at: str | None = None) -> Visitor:
        visitor = Visitor(browser, at or site.address, request.node.name)
        made.append(visitor)
        visitor.serve_chatkit_script((PAGE / "stock_element.js").read_text())
        visitor.page.goto("/react/")
        visitor.page.get_by_label("Your name").fill(visitor.name)
        visitor.page.get_by_role("button", name="Sign in").click()
        expect(visitor.page.get_by_label("Message to the assistant")).to_be_visible()
        return visitor

    yield sign_in
    errors = [error for visitor in made for error in visitor.errors]
    for visitor in made:
        visitor.context.close()
    assert errors == []


def ask(page: Page, text: str) -> None:
    page.get_by_label("Message to the assistant").fill(text)
    page.get_by_role("button", name="Ask").click()


def await_word(visitor: Visitor, number: int) -> None:
    expect(visitor.page.locator("[data-type=assistant_message]").last).to_contain_text(
        f"wörd{number} ", timeout=WAIT_MS
    )


def thread_id(visitor: Visitor) -> str:
    found: str = visitor.page.evaluate("name => sessionStorage.getItem(`thread of ${name}`)", visitor.name)
    return found


def shown_errors(visitor: Visitor) -> list[str]:
    found: list[str] = visitor.page.evaluate("document.querySelector('openai-chatkit').errors")
    return found


def test_a_cut_answer_is_whole_and_posted_once(
    site: Site, signed_in: Callable[..., Visitor], tmp_path: Path
) -> None:
    with CuttingProxy(site.address) as wire:
        visitor = signed_in(wire.address)
        ask(visitor.page, held(tmp_path / "gate"))
        await_word(visitor, 10)
        wire.go_down()
        expect(visitor.page.get_by_text("Connection lost")).to_be_visible()
        (tmp_path / "gate").touch()
        wire.come_back()
        await_word(visitor, WORDS - 1)
        expect(visitor.page.get_by_text("Connection lost")).to_be_hidden()
        text = visitor.page.locator("[data-type=assistant_message]").inner_text()
        assert text.count("wörd50 ") == 1
        assert text.startswith("/react/ ['Shop']: ")
        assert shown_errors(visitor) == []
        assert visitor.page.evaluate("document.querySelector('openai-chatkit').posts") == 1


def test_a_reload_shows_the_answer_once_it_is_finished(
    signed_in: Callable[..., Visitor], tmp_path: Path
) -> None:
    visitor = signed_in()
    ask(visitor.page, held(tmp_path / "gate"))
    await_word(visitor, 10)
    visitor.page.reload()
    expect(visitor.page.locator("[data-type=user_message]")).to_have_count(1)
    expect(visitor.page.locator("[data-type=assistant_message]")).to_have_count(0)
    (tmp_path / "gate").touch()
    await_word(visitor, WORDS - 1)
    assert shown_errors(visitor) == []


def test_stop_ends_the_run_of_the_open_thread(
    site: Site, signed_in: Callable[..., Visitor], tmp_path: Path
) -> None:
    visitor = signed_in()
    ask(visitor.page, held(tmp_path / "never"))
    await_word(visitor, 10)
    visitor.page.get_by_role("button", name="Stop the answer").click()
    expect(visitor.page.locator("output")).to_be_empty()
    assert visitor.ask(site.address, f"/threads/{thread_id(visitor)}/run", None) is None
    assert f"wörd{WORDS - 1} " not in visitor.page.locator("[data-type=assistant_message]").inner_text()


def test_the_page_serves_everybody(signed_in: Callable[..., Visitor], shots: Path | None) -> None:
    visitor = signed_in()
    ask(visitor.page, "60 at 200")
    await_word(visitor, 59)
    visitor.assert_accessible()
    assert visitor.page.locator("main").evaluate("main => getComputedStyle(main).maxWidth") != "none", (
        "unstyled"
    )
    visitor.picture(shots, "react-wide")
    visitor.assert_fits(360)
    visitor.picture(shots, "react-narrow")


def test_another_user_in_place_gets_nothing_of_the_one_before(
    browser: Browser, site: Site, tmp_path: Path
) -> None:
    ada = Visitor(browser, site.address, "ada-before-bob")
    ada.serve_chatkit_script((PAGE / "stock_element.js").read_text())
    serve_two_users_page(ada, tmp_path)
    page = ada.page
    page.goto("/built/index.html?user=ada-before-bob&user=bob-after-ada")
    ask(page, held(tmp_path / "never"))
    await_word(ada, 10)
    [thread] = ada.ask(site.address, "/chatkit", {"type": "threads.list", "params": {}})["data"]
    expect(page.get_by_label("Thread")).to_have_text(thread["id"])

    page.get_by_role("button", name="Be Bob").click()
    expect(page.get_by_label("Thread")).to_have_text("none")
    expect(page.get_by_label("Connection")).to_have_text("idle")
    expect(page.locator("[data-type]")).to_have_count(0)
    assert ada.ask(site.address, f"/threads/{thread['id']}/run", None)["status"] == "running"

    ask(page, "20 at 40")
    await_word(ada, 19)
    bob = Visitor(browser, site.address, "bob-after-ada")
    [his] = bob.ask(site.address, "/chatkit", {"type": "threads.list", "params": {}})["data"]
    expect(page.get_by_label("Thread")).to_have_text(his["id"])
    assert len(ada.ask(site.address, "/chatkit", {"type": "threads.list", "params": {}})["data"]) == 1
    for each in (ada, bob):
        each.context.close()
    assert ada.errors == []


def test_a_script_that_does_not_come_is_told(browser: Browser, site: Site) -> None:
    """Without the timeout, and without the browser's list of what it has fetched, which may be full."""
    visitor = Visitor(browser, site.address, "blocked")
    visitor.context.route("https://cdn.platform.openai.com/**", lambda route: route.abort())
    visitor.context.add_init_script(NO_TIMEOUT)
    visitor.page.goto("/react/")
    visitor.page.get_by_label("Your name").fill(visitor.name)
    visitor.page.get_by_role("button", name="Sign in").click()
    expect(visitor.page.get_by_role("alert")).to_contain_text("could not be loaded")
    visitor.context.close()
