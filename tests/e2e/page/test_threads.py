"""The list of threads, and a thread while it is being loaded."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from tests.e2e.axe import assert_accessible
from tests.e2e.page.cutting_proxy import CuttingProxy
from tests.e2e.page.user import User
from tests.support.system import create

pytestmark = pytest.mark.browser


class Held:
    """ChatKit requests of one type of one page, which wait until they are let go."""

    def __init__(self, page: Page, type_: str) -> None:
        self.page, self.type = page, type_
        self._waiting: list[Route] = []
        self._is_open = False
        self.seen = 0
        page.route("**/chatkit", self._take)

    def _take(self, route: Route) -> None:
        if self._is_open or route.request.post_data_json["type"] != self.type:
            route.fallback()
            return
        self.seen += 1
        self._waiting.append(route)

    def let_go(self) -> None:
        self._is_open = True
        for route in self._waiting:
            route.continue_()


def titled(user: User, title: str, text: str = "show notice") -> str:
    """A thread of the user with an answer and this title; its id."""
    events = user.api(create(text)).text
    [thread_id] = set(re.findall(r'"type":"thread.created".*?"id":"(thr_\w+)"', events))
    user.api({"type": "threads.update", "params": {"thread_id": thread_id, "title": title}})
    return str(thread_id)


def line(page: Page, title: str) -> Any:
    return page.locator(".thread-open", has_text=title)


def items_of(user: User, thread_id: str) -> list[dict[str, Any]]:
    params = {"thread_id": thread_id, "limit": 100, "order": "asc"}
    items: list[dict[str, Any]] = user.api({"type": "items.list", "params": params}).json()["data"]
    return items


def texts_of(user: User, thread_id: str) -> list[str]:
    """What was said by the user in the thread."""
    return [
        item["content"][0]["text"] for item in items_of(user, thread_id) if item["type"] == "user_message"
    ]


def test_a_thread_that_loads_has_its_name_and_what_is_typed_meanwhile_goes_there(
    user: User, shots: Path | None
) -> None:
    thread_id = titled(user, "Rooms in Berlin")
    page = user.page
    page.reload()
    held = Held(page, "items.list")
    line(page, "Rooms in Berlin").click()
    expect(page.locator("#title")).to_have_text("Rooms in Berlin")
    expect(page.locator("#loading")).to_be_visible()
    expect(page.locator("#log")).to_have_attribute("aria-busy", "true")
    expect(page.locator("#welcome")).to_be_hidden()
    expect(page.locator(".thread.current")).to_contain_text("Rooms in Berlin")
    for text in ("show notice first", "show notice second"):
        user.message_box.fill(text)
        user.message_box.press("Enter")
    expect(page.locator(".entry.user.pending")).to_have_text(["show notice first", "show notice second"])
    assert_accessible(page, "relaykit-chat")
    if shots is not None:
        page.wait_for_timeout(400)
        page.screenshot(path=shots / "threads-loading.png")
    held.let_go()
    expect(page.locator(".entry.user:not(.pending)")).to_have_text(
        ["show notice", "show notice first", "show notice second"]
    )
    user.wait_for_end()
    expect(page.locator("#loading")).to_be_hidden()
    assert texts_of(user, thread_id) == ["show notice", "show notice first", "show notice second"]
    expect(page.locator(".thread")).to_have_count(1)


def test_a_thread_that_is_opened_offline_says_so_and_loads_by_itself(user: User, shots: Path | None) -> None:
    user.allowed_errors.append(r"net::ERR_")
    titled(user, "Far away")
    page = user.page
    page.reload()
    expect(line(page, "Far away")).to_be_visible()
    user.context.set_offline(True)
    line(page, "Far away").click()
    expect(page.locator("#loading")).to_contain_text("No network. The conversation loads when it is back")
    expect(page.locator("#title")).to_have_text("Far away")
    if shots is not None:
        page.wait_for_timeout(400)
        page.screenshot(path=shots / "threads-offline.png")
    user.context.set_offline(False)
    expect(user.answers.last).to_contain_text("Noticed.")
    expect(page.locator("#loading")).to_be_hidden()


def test_a_thread_is_loaded_once_its_server_is_back(
    new_user: Callable[..., User], proxy: CuttingProxy
) -> None:
    user = new_user(at=proxy.address)
    user.allowed_errors.append(r"net::ERR_|status of 5")
    user.sign_in()
    titled(user, "Later")
    page = user.page
    page.reload()
    expect(line(page, "Later")).to_be_visible()
    proxy.go_down()
    line(page, "Later").click()
    expect(page.locator("#loading")).to_contain_text("The server cannot be reached. Trying again")
    assert page.locator("#welcome").is_hidden()
    proxy.come_back()
    expect(user.answers.last).to_contain_text("Noticed.")


def test_what_is_typed_for_a_thread_that_is_not_there_comes_back_and_begins_none(user: User) -> None:
    user.allowed_errors.append("404")
    page = user.page
    held = Held(page, "threads.get_by_id")
    page.evaluate("void document.querySelector('relaykit-chat').setThreadId('thr_unknown').catch(() => {})")
    expect(page.locator("#loading")).to_be_visible()
    user.message_box.fill("for that thread")
    user.message_box.press("Enter")
    expect(page.locator(".entry.pending")).to_have_count(1)
    held.let_go()
    expect(user.message_box).to_have_value("for that thread")
    expect(page.locator(".entry")).to_have_count(0)
    expect(page.locator("#welcome")).to_be_visible()
    assert user.api({"type": "threads.list", "params": {"limit": 1}}).json()["data"] == []


CHAT = "document.querySelector('relaykit-chat')"


@pytest.mark.parametrize("leaves", ["for another thread", "for a new thread", "because it is not there"])
def test_an_action_for_a_thread_that_never_opens_goes_to_no_other(user: User, leaves: str) -> None:
    user.allowed_errors.append("404")
    first, second = titled(user, "First"), titled(user, "Second")
    page = user.page
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.post_data or ""))
    held = Held(page, "threads.get_by_id")
    opened = "thr_unknown" if leaves == "because it is not there" else first
    page.evaluate(f"void {CHAT}.setThreadId({json.dumps(opened)}).catch(() => {{}})")
    expect(page.locator("#loading")).to_be_visible()
    page.evaluate(
        f"""() => {{
          window.action = {CHAT}.sendCustomAction({{type: "book"}}).then(() => "accepted", ({{message}}) => message);
        }}"""
    )
    if leaves == "for another thread":
        page.evaluate(f"void {CHAT}.setThreadId({json.dumps(second)})")
    elif leaves == "for a new thread":
        page.evaluate(f"{CHAT}.setThreadId(null)")
    held.let_go()
    assert page.evaluate("window.action") == "The server did not accept the action."
    assert [body for body in asked if "custom_action" in body] == []


def test_a_run_that_another_tab_begins_while_this_one_loads_is_followed(user: User) -> None:
    user.ask("show notice first")
    second = user.context.new_page()
    held = Held(second, "items.list")
    second.goto(user.page.url)
    expect(second.locator("#loading")).to_be_visible()
    user.ask("show notice second")
    held.let_go()
    expect(second.locator(".bubble")).to_have_text(["show notice first", "show notice second"])
    expect(second.locator(".entry.assistant .answer")).to_have_count(2)


def test_a_list_that_comes_late_overwrites_nothing(user: User) -> None:
    page = user.page
    held = Held(page, "threads.list")
    page.reload()
    expect(page.locator("#no-threads")).to_have_text("Loading the conversation")
    user.ask("show notice")
    expect(page.locator(".threads li")).to_have_count(1)
    with page.expect_response(lambda answer: "threads.list" in (answer.request.post_data or "")):
        held.let_go()
    expect(page.locator("#threads")).to_have_attribute("aria-busy", "false")
    expect(page.locator(".threads li")).to_have_count(1)
    expect(page.locator("#no-threads")).to_be_hidden()


def test_a_new_thread_asks_for_no_list_and_keeps_those_that_were_paged_in(user: User) -> None:
    for number in range(31):
        user.api(create(f"show notice {number}"))
    page = user.page
    page.reload()
    page.get_by_role("button", name="Show older").click()
    expect(page.locator(".threads li")).to_have_count(31)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.post_data or ""))
    user.ask("show notice")
    expect(page.locator(".threads li")).to_have_count(32)
    expect(page.locator(".threads li").first).to_have_class(re.compile("current"))
    assert [body for body in asked if "threads.list" in body] == []
    page.evaluate("document.querySelector('relaykit-chat').fetchUpdates()")
    expect(page.locator(".threads li")).to_have_count(32)


def test_calls_for_the_list_at_one_moment_are_one_request(user: User) -> None:
    page = user.page
    expect(page.locator("#no-threads")).to_have_text("Nothing here yet.")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.post_data or ""))
    updates = "document.querySelector('relaykit-chat').fetchUpdates()"
    page.evaluate(f"Promise.all([{updates}, {updates}, {updates}])")
    assert len([body for body in asked if "threads.list" in body]) == 1


DAYS_AGO = (0, 0, 1, 4, 20, 200)


def test_threads_stand_under_their_dates_and_untitled_ones_are_told_apart(
    user: User, shots: Path | None
) -> None:
    page = user.page
    now = datetime.now().astimezone()
    threads = [
        {
            "id": f"thr_{at}",
            "title": None if days == 0 else f"A title of {days} days ago that is longer than its line can be",
            "created_at": (now - timedelta(days=days, minutes=at)).isoformat(),
            "status": {"type": "active"},
        }
        for at, days in enumerate(DAYS_AGO)
    ]

    def answer(route: Route) -> None:
        if route.request.post_data_json["type"] == "threads.list":
            route.fulfill(json={"data": threads, "has_more": False, "after": None})
        else:
            route.fallback()

    page.route("**/chatkit", answer)
    page.reload()
    expect(page.locator(".threads-date")).to_have_text(
        ["Today", "Yesterday", "Last 7 days", "Last 30 days", re.compile(r"^\w+ \d{4}$")]
    )
    lists = page.locator(".threads ul")
    expect(lists.first).to_have_accessible_name("Today")
    untitled = page.locator(".thread-open.untitled")
    expect(untitled).to_have_count(2)
    for at in range(2):
        cut = untitled.nth(at).evaluate(
            "node => node.scrollWidth > node.clientWidth || node.scrollHeight > node.clientHeight"
        )
        assert not cut, "the time is cut off"
    assert untitled.nth(0).inner_text() != untitled.nth(1).inner_text()
    assert_accessible(page, "relaykit-chat")
    if shots is not None:
        page.screenshot(path=shots / "threads-dates.png")


def test_a_search_finds_titles_that_are_not_loaded_yet(user: User, shots: Path | None) -> None:
    titled(user, "The Café at the zoo")
    for number in range(31):
        user.api(create(f"show notice {number}"))
    page = user.page
    page.reload()
    expect(page.locator(".threads li")).to_have_count(30)
    field = page.get_by_role("searchbox", name="Search conversations")
    field.fill("zoo cafe")
    expect(page.locator(".thread-open")).to_have_text(["The Café at the zoo"])
    assert_accessible(page, "relaykit-chat")
    if shots is not None:
        page.screenshot(path=shots / "threads-search.png")
    field.fill("zoological")
    expect(page.locator("#no-threads")).to_have_text("No conversation found.")
    field.press("Escape")
    expect(page.locator(".threads li")).to_have_count(30)
    expect(field).to_have_value("")


def test_a_thread_whose_newest_items_are_hidden_shows_what_is_before_them(user: User) -> None:
    user.ask("show notice")
    asked: list[str | None] = []

    def hide(route: Route) -> None:
        body = route.request.post_data_json
        if body["type"] != "items.list":
            route.fallback()
            return
        after = body["params"].get("after")
        asked.append(after)
        if after != "hidden-2":
            page = {"data": [], "has_more": True, "after": "hidden-1" if after is None else "hidden-2"}
            route.fulfill(json=page)
            return
        del body["params"]["after"]
        route.fallback(post_data=json.dumps(body))

    user.page.route("**/chatkit", hide)
    user.page.reload()
    expect(user.page.locator(".bubble")).to_have_text("show notice")
    assert asked == [None, "hidden-1", "hidden-2"]
    user.page.evaluate("document.querySelector('relaykit-chat').fetchUpdates()")
    expect(user.page.locator(".bubble")).to_have_text("show notice")


FLEX = """height => {
  const chat = document.querySelector("relaykit-chat");
  const place = document.createElement("div");
  place.style.cssText = `display: flex; flex-direction: column; height: ${height}px`;
  const middle = document.createElement("div");
  middle.style.cssText = "flex: 1; min-height: auto";
  chat.before(place);
  place.append(middle);
  middle.append(chat);
  chat.style.cssText = "height: 100%; min-height: auto";
  return [place.clientHeight, middle.clientHeight, chat.clientHeight];
}"""

ROW = """node => {
  node.style.cssText = "flex: 1; height: auto";
  node.parentElement.style.cssText = "display: flex; height: 450px";
}"""


def test_its_size_is_that_of_its_place_whatever_is_in_it(user: User) -> None:
    for number in range(4):
        user.ask(f"show notice {number}")
    user.ask("show paragraphs")
    page = user.page
    assert page.evaluate(FLEX, 500) == [500, 500, 500]
    expect(page.locator(".bubble")).to_have_count(5)
    is_higher = "node => node.scrollHeight > 2 * node.clientHeight"
    assert page.locator("#scroller").evaluate(is_higher), "there is not enough in it"
    sizes = (
        "node => [node.parentElement.parentElement, node.parentElement, node].map(each => each.offsetHeight)"
    )
    assert page.locator("relaykit-chat").evaluate(sizes) == [500, 500, 500]
    expect(user.message_box).to_be_in_viewport()
    page.locator("relaykit-chat").evaluate("node => { node.style.cssText = 'height: auto'; }")
    assert page.locator("relaykit-chat").evaluate("node => node.offsetHeight") == 320
    page.locator("relaykit-chat").evaluate(ROW)
    box = page.locator("relaykit-chat").bounding_box()
    assert box is not None
    assert box["height"] == 450
    assert box["width"] > 1000


def test_a_new_conversation_is_one_press_away_also_where_the_list_is_closed(
    new_user: Callable[..., User],
) -> None:
    user = new_user().sign_in()
    user.ask("show notice")
    new = user.page.get_by_role("button", name="New conversation")
    expect(new).to_have_count(1)
    user.page.locator("#menu").click()
    expect(new).to_have_count(1)
    new.click()
    expect(user.page.locator("#welcome")).to_be_visible()
    expect(user.message_box).to_be_focused()
    narrow = new_user("narrow", viewport={"width": 360, "height": 780}).sign_in()
    narrow.ask("show notice")
    narrow.page.get_by_role("button", name="New conversation").click()
    expect(narrow.page.locator("#welcome")).to_be_visible()


def test_the_focus_goes_on_to_the_next_thread_after_a_delete(user: User) -> None:
    for number in range(3):
        titled(user, f"Number {number}")
    page = user.page
    page.reload()
    page.get_by_role("button", name="Delete “Number 1”").press("Enter")
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(line(page, "Number 0")).to_be_focused()
    expect(page.locator(".threads li")).to_have_count(2)


def test_no_change_of_width_is_an_error_of_the_page(user: User) -> None:
    page = user.page
    page.evaluate("window.told = []; addEventListener('error', ({message}) => told.push(message))")
    user.ask("show kinds")
    user.message_box.fill("a long text " * 20)
    heights = []
    for width in (460, 900, 1280, 500, 1280):
        page.set_viewport_size({"width": width, "height": 800})
        page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        heights.append(user.message_box.evaluate("node => node.clientHeight"))
        assert user.message_box.evaluate("node => node.scrollHeight - node.clientHeight") <= 1
    assert len(set(heights)) > 1, "the box did not grow"
    assert page.evaluate("told") == []


def test_the_conversation_is_in_line_with_the_box_where_scrollbars_take_room(user: User) -> None:
    expect(user.page.locator("#scroller")).to_have_css("scrollbar-gutter", "stable both-edges")


NO_FIELD_SIZING = """
const supports = CSS.supports.bind(CSS);
CSS.supports = (...given) => given[0] !== "field-sizing" && supports(...given);
"""


def test_a_text_field_grows_in_a_browser_that_cannot_size_fields(user: User) -> None:
    user.context.add_init_script(NO_FIELD_SIZING)
    user.page.reload()
    user.ask("show growing")
    field = user.page.locator("textarea.w-grows")
    style = "node => node.style.setProperty('field-sizing', 'fixed')"
    field.evaluate(style)
    low = field.evaluate("node => node.offsetHeight")
    field.fill("\n".join("line" for _ in range(6)))
    assert field.evaluate("node => node.offsetHeight") > low + 80
    assert field.evaluate("node => node.scrollHeight - node.clientHeight") <= 1
    field.fill("line")
    assert field.evaluate("node => node.offsetHeight") == low


def test_answer_again_asks_before_it_deletes_later_messages(user: User, shots: Path | None) -> None:
    for number in range(3):
        user.ask(f"show notice {number}")
    page = user.page
    before = items_of(user, user.thread_id)
    again = page.get_by_role("button", name="Answer again")
    again.first.click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Answer this message again?")
    expect(dialog).to_contain_text("All later messages will be deleted: 4")
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    assert_accessible(page, "relaykit-chat")
    if shots is not None:
        page.screenshot(path=shots / "threads-again.png")
    page.keyboard.press("Escape")
    expect(again.first).to_be_focused()
    expect(again.first).to_be_enabled()
    assert items_of(user, user.thread_id) == before
    again.first.click()
    dialog.get_by_role("button", name="Answer again").click()
    expect(page.locator(".bubble")).to_have_text(["show notice 0"])
    user.wait_for_end()
    assert texts_of(user, user.thread_id) == ["show notice 0"]
    page.get_by_role("button", name="Answer again").click()
    user.wait_for_end()
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(user.answers).to_have_count(1)


def test_a_title_that_only_the_open_thread_knows_is_in_the_list(user: User) -> None:
    thread_id = titled(user, "Old name")
    page = user.page
    page.reload()
    line(page, "Old name").click()
    expect(page.locator("#title")).to_have_text("Old name")
    user.api({"type": "threads.update", "params": {"thread_id": thread_id, "title": "New name"}})
    page.evaluate(f"document.querySelector('relaykit-chat').setThreadId({json.dumps(thread_id)})")
    expect(line(page, "New name")).to_be_visible()
    expect(page.locator("#title")).to_have_text("New name")


def test_a_run_that_goes_on_in_another_thread_is_marked_until_its_end_has_been_seen(
    user: User, shots: Path | None
) -> None:
    page = user.page
    second = user.new_tab("/")
    expect(second.locator("#no-threads")).to_have_text("Nothing here yet.")
    page.bring_to_front()
    user.send("show hold")
    thread_id = user.thread_id
    running = page.locator(".thread-mark.running")
    expect(running).to_have_count(1)
    page.locator("#new-thread").click()
    expect(running).to_have_count(1)
    expect(page.locator(".thread-open")).to_contain_text("being answered")
    expect(second.locator(".thread-mark.running")).to_have_count(1)
    expect(page).to_have_title("… Relaykit")
    assert_accessible(page, "relaykit-chat")
    if shots is not None:
        page.screenshot(path=shots / "threads-running.png")
    user.api({"type": "threads.update", "params": {"thread_id": thread_id, "title": "Go on"}})
    for each in (page, second):
        expect(each.locator(".thread-mark.finished")).to_have_count(1)
    expect(page).to_have_title("● Relaykit")
    expect(page.locator(".thread-open")).to_contain_text("new answer")
    if shots is not None:
        page.screenshot(path=shots / "threads-finished.png")
    page.locator(".thread-open").click()
    expect(page.locator(".thread-mark")).to_have_count(0)
    expect(page).to_have_title("Relaykit")
