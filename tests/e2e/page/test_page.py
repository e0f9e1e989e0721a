"""The demo page's main job: a conversation that survives reloads, lost connections, second tabs and expired tokens."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.e2e.page.cutting_proxy import CuttingProxy
from tests.e2e.page.user import User

pytestmark = pytest.mark.browser

LONG = "Write a long answer for 6 seconds"


def test_a_streamed_answer_grows_as_markdown_and_equals_what_is_stored(user: User) -> None:
    user.send(LONG)
    user.wait_for_words(100)
    growing = user.page.locator(".entry.assistant.open")
    expect(growing).to_have_attribute("aria-busy", "true")
    expect(user.page.get_by_role("button", name="Stop")).to_be_visible()
    user.wait_for_words(len(growing.inner_text()) + 100)
    user.wait_for_end()
    expect(user.page.get_by_role("heading", name="The way of a message")).to_be_visible()
    expect(user.answers.last.locator("strong").first).to_be_visible()
    assert user.copied_answer() == user.stored_answer()
    expect(user.page.locator("#title")).to_have_text(LONG)
    expect(user.page.get_by_role("button", name=LONG, exact=True)).to_have_attribute("aria-current", "page")


def test_a_reload_in_mid_answer_goes_on_and_ends_as_stored(user: User, shots: Path | None) -> None:
    user.send(LONG)
    user.wait_for_words(150)
    if shots:
        user.page.screenshot(path=shots / "mid-answer.png")
    user.page.reload()
    user.wait_for_words(200)
    if shots:
        user.page.screenshot(path=shots / "after-reload.png")
    expect(user.page.locator(".entry.user")).to_have_count(1)
    user.wait_for_end()
    expect(user.answers).to_have_count(1)
    assert user.copied_answer() == user.stored_answer()
    shown = user.answers.last.locator(".answer").inner_html()
    user.page.reload()
    expect(user.answers).to_have_count(1)
    assert user.answers.last.locator(".answer").inner_html() == shown


def test_a_name_that_is_given_in_mid_answer_is_there_after_a_reload(user: User) -> None:
    """The replay of the run has the name that the server gave before."""
    user.send(LONG)
    user.wait_for_words(150)
    user.api({"type": "threads.update", "params": {"thread_id": user.thread_id, "title": "My own name"}})
    user.page.reload()
    user.wait_for_words(200)
    expect(user.page.locator("#title")).to_have_text("My own name")
    user.wait_for_end()
    expect(user.page.locator("#title")).to_have_text("My own name")
    expect(user.page.get_by_role("button", name="My own name", exact=True)).to_be_visible()


def test_cut_connections_lose_and_repeat_nothing(new_user: Callable[..., User], proxy: CuttingProxy) -> None:
    user = new_user(at=proxy.address)
    user.allowed_errors.append(r"net::ERR_")
    user.sign_in()
    user.send(LONG)
    for characters in (80, 160, 240):
        user.wait_for_words(characters)
        proxy.cut()
    user.wait_for_words(300)
    proxy.go_down()
    expect(user.page.locator("#progress")).to_have_text("Connection lost, trying again")
    proxy.come_back()
    user.wait_for_end()
    expect(user.answers).to_have_count(1)
    assert user.copied_answer() == user.stored_answer()


def test_a_message_sent_while_the_server_is_away_is_sent_once_when_it_is_back(
    new_user: Callable[..., User], proxy: CuttingProxy
) -> None:
    user = new_user(at=proxy.address)
    user.allowed_errors.append(r"net::ERR_")
    user.sign_in()
    proxy.go_down()
    user.message_box.fill("show notice")
    user.message_box.press("Enter")
    expect(user.page.locator(".entry.pending")).to_have_text("show notice")
    proxy.come_back()
    expect(user.answers.last.locator(".answer")).to_have_text("Noticed.")
    expect(user.page.locator(".entry.user")).to_have_count(1)
    assert [item["type"] for item in user.stored_items()] == ["user_message", "assistant_message"]


def test_a_message_that_cannot_be_sent_comes_back_into_the_box(user: User) -> None:
    user.allowed_errors.append("413")
    expect(user.page.locator("#no-threads")).to_be_visible()
    user.context.route("**/chatkit", lambda route: route.fulfill(status=413, json=TOO_LARGE))
    user.message_box.fill("too much")
    user.message_box.press("Enter")
    expect(user.page.locator(".toast").first).to_have_text("The message is too large.")
    expect(user.message_box).to_have_value("too much")
    expect(user.page.locator(".entry")).to_have_count(0)


TOO_LARGE = {"error": {"code": "body_too_large", "message": "The body is larger than allowed."}}


def test_the_page_stays_where_it_was_opened(new_user: Callable[..., User]) -> None:
    """At `/demo`, as beside a site that has a page of its own: with its thread in the address, and after a reload."""
    user = new_user().sign_in("/demo")
    user.ask("show notice")
    user.page.wait_for_url(re.compile(r"/demo\?thread=thr_"))
    user.page.reload()
    expect(user.answers).to_have_count(1)
    user.page.get_by_role("button", name="Sign out").click()
    user.page.wait_for_url(re.compile(r"/demo$"))
    expect(user.page.get_by_label("Your name")).to_be_visible()


def test_a_second_tab_and_a_second_browser_follow_the_same_run(new_user: Callable[..., User]) -> None:
    user = new_user().sign_in()
    user.ask("show notice")
    second = user.new_tab()
    expect(second.locator(".answer").last).to_have_text("Noticed.")
    user.send(LONG)
    user.wait_for_words(100, second)
    expect(user.page.locator(".entry.open")).to_be_visible()
    other = new_user(user.name)
    other.sign_in()
    other.page.goto(user.page.url)
    user.wait_for_words(150, other.page)
    for page in (user.page, second, other.page):
        user.wait_for_end(page)
    stored = user.stored_answer()
    assert user.copied_answer() == stored
    assert user.copied_answer(second) == stored
    assert other.copied_answer() == stored
    expect(second.locator(".entry.user")).to_have_count(2)


@pytest.mark.parametrize("how", ["button", "escape"])
def test_stop_keeps_the_partial_text(user: User, how: str) -> None:
    user.send("Write a long answer for 60 seconds")
    user.wait_for_words(200)
    if how == "button":
        user.page.get_by_role("button", name="Stop").click()
    else:
        user.message_box.press("Escape")
    user.wait_for_end()
    expect(user.page.get_by_text("Stopped", exact=True).last).to_be_visible()
    expect(user.message_box).to_be_focused()
    kept = user.stored_answer()
    assert len(kept) > 150
    assert user.copied_answer() == kept
    user.page.reload()
    expect(user.answers).to_have_count(1)
    assert user.copied_answer() == kept


def test_stop_in_one_tab_ends_the_answer_in_the_other(user: User) -> None:
    user.send("Write a long answer for 60 seconds")
    user.wait_for_words(50)
    second = user.new_tab()
    user.wait_for_words(50, second)
    second.get_by_role("button", name="Stop").click()
    user.wait_for_end(second)
    user.wait_for_end()
    expect(user.page.locator(".marker")).to_have_text("Stopped")


def test_a_message_sent_during_an_answer_is_answered_after_it(user: User) -> None:
    user.send("Write a long answer for 3 seconds")
    user.wait_for_words(50)
    user.send("show notice")
    user.wait_for_end()
    expect(user.answers).to_have_count(2)
    assert user.copied_answer() == "Noticed."
    stored = [item["id"] for item in user.stored_items()]
    shown = user.page.locator(".log > [data-item]").evaluate_all("nodes => nodes.map(n => n.dataset.item)")
    assert [item for item in shown if item in stored] == stored


def test_an_answer_outlives_its_token(new_user: Callable[..., User]) -> None:
    user = new_user()
    fetched = user.shorten_tokens(2)
    resumed: list[str] = []
    user.page.on("request", lambda request: request.url.endswith("/events") and resumed.append(request.url))
    user.sign_in()
    user.send(LONG)
    user.wait_for_end()
    assert len(fetched) >= 3
    assert len(resumed) >= 2
    assert user.copied_answer() == user.stored_answer()


def test_a_journal_that_is_gone_still_ends_in_the_stored_answer(user: User) -> None:
    user.allowed_errors.append("status of 410")
    gone = {"error": {"code": "journal_gone", "message": "The run's journal is gone."}}
    user.send("Write a long answer for 4 seconds")
    user.wait_for_words(50)
    user.page.route("**/runs/*/events", lambda route: route.fulfill(status=410, json=gone))
    user.page.reload()
    expect(user.page.locator("#progress")).to_be_visible()
    user.wait_for_end()
    expect(user.answers).to_have_count(1)
    assert user.copied_answer() == user.stored_answer()


def test_leaving_a_thread_stops_nothing_and_coming_back_goes_on(user: User) -> None:
    user.send(LONG)
    user.wait_for_words(50)
    user.page.get_by_role("button", name="New conversation").click()
    expect(user.page.locator(".entry")).to_have_count(0)
    user.page.go_back()
    user.wait_for_words(100)
    user.wait_for_end()
    assert user.copied_answer() == user.stored_answer()


def test_requests_carry_a_key_the_resume_header_and_who_and_where(user: User) -> None:
    with user.page.expect_request(lambda request: "threads.create" in (request.post_data or "")) as caught:
        user.ask("Which page am I on?")
    request = caught.value
    body = request.post_data_json
    assert body["metadata"]["userInfo"] == {"id": user.name, "name": user.name}
    assert body["metadata"]["pageContext"]["path"] == "/"
    assert body["params"]["input"]["metadata"] == body["metadata"]
    assert request.headers["relaykit-resume"] == "1"
    assert re.fullmatch(r"[0-9a-f]{32}", request.headers["idempotency-key"])
    expect(user.answers.last).to_contain_text("You are on Relaykit")
