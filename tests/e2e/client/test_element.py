"""`<relaykit-chat>` in the place of the stock element: @openai/chatkit-react drives it through a whole conversation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx2
import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect

from bench.systems.server import Script
from tests.e2e.client.server import held
from tests.e2e.client.site_processes import Site, serve_two_users_page
from tests.e2e.client.visitor import WAIT_MS, Visitor
from tests.support.leases import end_lease
from tests.support.processes.local_mode import wait_until
from tests.support.system import free_port, start_process

ELEMENT = 'import(location.origin + "/element/relaykit-chat.js").then(({ defineChat }) => defineChat("openai-chatkit"))'
"""In the place of OpenAI's script."""
WORDS = 200
ANSWER = f"{WORDS} at 40"
"""Five seconds."""


@pytest.fixture
def signed_in(browser: Browser, site: Site, request: pytest.FixtureRequest):
    """Signs a visitor in to the React example. At the end its page has had no error of its own."""
    made: list[Visitor] = []

    def sign_in(name: str | None = None) -> Visitor:
        visitor = Visitor(browser, site.address, name or request.node.name)
        made.append(visitor)
        visitor.serve_chatkit_script(ELEMENT)
        visitor.page.goto("/react/")
        visitor.page.get_by_label("Your name").fill(visitor.name)
        visitor.page.get_by_role("button", name="Sign in").click()
        expect(message_box(visitor.page)).to_be_visible()
        return visitor

    yield sign_in
    errors = [error for visitor in made for error in visitor.errors]
    for visitor in made:
        visitor.context.close()
    assert errors == []


def message_box(page: Page) -> Locator:
    return page.get_by_role("textbox", name="Message", exact=True)


def answers(page: Page) -> Locator:
    return page.locator(".entry.assistant[aria-label=Assistant] .answer")


def ask(page: Page, text: str) -> None:
    message_box(page).fill(text)
    message_box(page).press("Enter")


def await_word(page: Page, number: int) -> None:
    expect(answers(page).last).to_contain_text(f"wörd{number} ", timeout=WAIT_MS)


def await_end(page: Page) -> None:
    expect(page.locator("#progress")).to_be_hidden(timeout=WAIT_MS)


def thread_id(visitor: Visitor) -> str:
    found: str = visitor.page.evaluate("name => sessionStorage.getItem(`thread of ${name}`)", visitor.name)
    return found


def stored_answers(visitor: Visitor, site: Site) -> list[str]:
    params = {"thread_id": thread_id(visitor), "limit": 100, "order": "asc"}
    items = visitor.ask(site.address, "/chatkit", {"type": "items.list", "params": params})["data"]
    found = [item["content"] for item in items if item["type"] == "assistant_message"]
    return ["".join(part["text"] for part in content).strip() for content in found]


def test_a_whole_conversation(site: Site, signed_in: Callable[..., Visitor], shots: Path | None) -> None:
    visitor = signed_in()
    page = visitor.page
    ask(page, "20 at 40")
    await_word(page, 19)
    await_end(page)
    ask(page, ANSWER)
    await_word(page, 10)
    page.reload()
    await_word(page, 40)
    expect(answers(page)).to_have_count(2)
    await_end(page)
    expect(answers(page)).to_have_text(stored_answers(visitor, site))
    ask(page, "2000 at 40")
    await_word(page, 10)
    page.get_by_role("button", name="Stop the answer").click()
    await_end(page)
    expect(page.locator(".marker")).to_have_text("Stopped")
    expect(answers(page)).to_have_text(stored_answers(visitor, site))
    visitor.picture(shots, "element-in-react")

    page.get_by_role("button", name="New conversation").click()
    expect(answers(page)).to_have_count(0)
    ask(page, "5 at 40")
    await_word(page, 4)
    await_end(page)
    page.locator(".thread-open").last.click()
    expect(answers(page)).to_have_count(3)


def test_an_api_that_dies_and_comes_back_elsewhere_loses_nothing(
    site: Site, signed_in: Callable[..., Visitor], tmp_path: Path
) -> None:
    another = site.start_api()  # a client does not wait for as long as a start may take
    visitor = signed_in()
    page = visitor.page
    ask(page, held(tmp_path / "gate"))
    await_word(page, 20)
    assert site.api is not None
    site.api.kill()
    expect(page.get_by_text("Connection lost: going on in a moment")).to_be_visible()
    site.pass_to(*another)
    (tmp_path / "gate").touch()
    await_word(page, WORDS - 1)
    await_end(page)
    expect(answers(page)).to_have_text(stored_answers(visitor, site))


def test_a_network_that_is_away_for_ten_seconds_loses_nothing(
    site: Site, signed_in: Callable[..., Visitor], tmp_path: Path
) -> None:
    visitor = signed_in()
    page = visitor.page
    ask(page, held(tmp_path / "gate"))
    await_word(page, 20)
    visitor.context.set_offline(True)
    (tmp_path / "gate").touch()
    page.wait_for_timeout(10_000)
    visitor.context.set_offline(False)
    await_word(page, WORDS - 1)
    await_end(page)
    expect(answers(page)).to_have_text(stored_answers(visitor, site))


def test_what_stood_on_the_page_is_taken_back_only_for_a_lost_worker(
    site: Site, signed_in: Callable[..., Visitor], tmp_path: Path
) -> None:
    visitor = signed_in()
    page = visitor.page
    ask(page, held(tmp_path / "gate"))
    await_word(page, 20)
    assert site.worker is not None
    site.worker.kill()
    run = visitor.ask(site.address, f"/threads/{thread_id(visitor)}/run", None)
    end_lease(site.settings.redis_url, run["id"])
    (tmp_path / "gate").touch()
    site.start_worker()
    await_word(page, WORDS - 1)
    await_end(page)
    expect(answers(page)).to_have_text(stored_answers(visitor, site))
    expect(answers(page)).to_have_count(1)


def test_two_users_at_once_see_their_own(site: Site, signed_in: Callable[..., Visitor]) -> None:
    ada, bob = signed_in("ada-in-element"), signed_in("bob-in-element")
    for visitor in (ada, bob):
        ask(visitor.page, ANSWER)
    for visitor in (ada, bob):
        await_word(visitor.page, WORDS - 1)
        await_end(visitor.page)
        expect(answers(visitor.page)).to_have_text(stored_answers(visitor, site))


def test_the_page_serves_everybody(signed_in: Callable[..., Visitor], shots: Path | None) -> None:
    visitor = signed_in()
    page = visitor.page
    ask(page, "60 at 200")
    await_word(page, 59)
    await_end(page)
    visitor.assert_accessible()
    visitor.picture(shots, "element-wide")
    visitor.assert_fits(360)
    visitor.assert_accessible()
    visitor.picture(shots, "element-narrow")


def test_another_user_in_place_gets_nothing_of_the_one_before(
    browser: Browser, site: Site, tmp_path: Path
) -> None:
    ada = Visitor(browser, site.address, "ada-in-place")
    ada.serve_chatkit_script(ELEMENT)
    serve_two_users_page(ada, tmp_path)
    page = ada.page
    page.goto("/built/index.html?user=ada-in-place&user=bob-in-place")
    page.add_style_tag(content="openai-chatkit { height: 500px }")
    ask(page, held(tmp_path / "never"))
    await_word(page, 10)
    [thread] = ada.ask(site.address, "/chatkit", {"type": "threads.list", "params": {}})["data"]
    expect(page.get_by_label("Thread")).to_have_text(thread["id"])

    page.get_by_role("button", name="Be Bob").click()
    expect(page.get_by_label("Thread")).to_have_text("none")
    expect(answers(page)).to_have_count(0)
    expect(page.locator("#threads li")).to_have_count(0)
    expect(page.locator(".toast")).to_have_count(0)
    assert ada.ask(site.address, f"/threads/{thread['id']}/run", None)["status"] == "running"

    ask(page, "20 at 40")
    await_word(page, 19)
    bob = Visitor(browser, site.address, "bob-in-place")
    [his] = bob.ask(site.address, "/chatkit", {"type": "threads.list", "params": {}})["data"]
    expect(page.get_by_label("Thread", exact=True)).to_have_text(his["id"])
    assert len(ada.ask(site.address, "/chatkit", {"type": "threads.list", "params": {}})["data"]) == 1
    for each in (ada, bob):
        each.context.close()
    assert ada.errors == []


class Plain(NamedTuple):
    address: str
    kill: Callable[[], None]


@pytest.fixture
def plain_server(site: Site, tmp_path: Path):
    """The server inside the HTTP request, as ChatKit's documentation shows it; its address, and its end."""
    port = free_port()
    process = start_process(
        "in_process", site.settings, tmp_path / "plain.log", package="bench.baselines.", PORT=str(port)
    )
    address = f"http://127.0.0.1:{port}"
    try:
        wait_until("it is ready", lambda: _is_ready(f"{address}/readyz"))
        yield Plain(address, process.kill)
    finally:
        process.kill()


def _is_ready(url: str) -> bool:
    try:
        return httpx2.get(url).status_code == 200
    except httpx2.TransportError:
        return False


PLAIN_CHAT = """async () => {
  await import("/element/relaykit-chat.js");
  const chat = document.createElement("relaykit-chat");
  chat.style.height = "100vh";
  document.body.replaceChildren(chat);
  chat.setOptions({api: {url: "/plain/chatkit", domainKey: "none"}});
}"""


def test_a_plain_chatkit_server_is_spoken_to_too(
    browser: Browser, site: Site, plain_server: Plain, request: pytest.FixtureRequest
) -> None:
    """It knows no runs: nothing resumes, an abort is the only Stop, and what breaks says so."""
    visitor = Visitor(browser, site.address, request.node.name)
    asked: list[str] = []

    def pass_on(route: Route) -> None:
        asked.append(route.request.url)
        route.continue_(url=plain_server.address + urlsplit(route.request.url).path.removeprefix("/plain"))

    visitor.context.route("**/plain/**", pass_on)
    page = visitor.page
    page.goto("/client/index.d.ts")  # a page of the site's origin with nothing on it
    page.evaluate(PLAIN_CHAT)
    ask(page, str(Script(deltas=3)))
    await_end(page)
    expect(answers(page)).to_have_count(1)
    page.locator("#new-thread").click()
    expect(answers(page)).to_have_count(0)
    page.locator(".thread-open").first.click()
    expect(answers(page)).to_have_count(1)
    ask(page, str(Script(deltas=1_000, per_second=20)))
    expect(answers(page).last).not_to_be_empty()
    page.get_by_role("button", name="Stop").click()
    await_end(page)
    # What of it the server stores is not looked at: an abort may come before the server has stored its words.
    expect(page.locator(".marker")).to_have_text("Stopped")
    assert not [url for url in asked if url.endswith("/run")], "it was asked for runs"
    ask(page, str(Script(deltas=1_000, per_second=20)))
    expect(answers(page)).to_have_count(3)
    plain_server.kill()
    problem = page.get_by_role("alert")
    expect(problem.get_by_role("button", name="Retry")).to_be_visible()
    await_end(page)
    assert visitor.errors == []
    visitor.context.close()
