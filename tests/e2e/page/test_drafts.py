"""What is typed and not sent is there again: after a reload, in each thread, and for nobody else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.page.test_element import Given
from tests.e2e.page.test_threads import Held
from tests.e2e.page.user import User

pytestmark = pytest.mark.browser

STORED = """() => Object.keys(localStorage).filter(key => key.startsWith("relaykit.draft."))
  .map(key => JSON.parse(localStorage[key]).content.map(({text}) => text).join("")).sort()"""


def new_thread(page: Page) -> None:
    page.get_by_role("button", name="New conversation").click()
    expect(page.locator("#welcome")).to_be_visible()


def open_only_thread(user: User) -> None:
    user.page.locator(".thread-open").click()
    expect(user.answers).to_have_count(1)


def test_what_is_typed_is_there_after_a_reload_until_it_is_sent(user: User, shots: Path | None) -> None:
    user.message_box.fill("show notice\nhalf")
    user.page.reload()
    expect(user.message_box).to_have_value("show notice\nhalf")
    tab = user.new_tab("/")
    user.page.close()
    user.page = tab
    expect(user.message_box).to_have_value("show notice\nhalf")
    if shots:
        user.page.screenshot(path=shots / "draft-again.png")
    user.message_box.press("Enter")
    expect(user.answers).to_have_count(1)
    user.wait_for_end()
    assert user.page.evaluate(STORED) == []
    for path in (user.page.url, "/"):
        user.page.goto(path)
        expect(user.page.locator(".thread-open")).to_have_count(1)
        expect(user.message_box).to_have_value("")
    user.message_box.fill("emptied")
    assert user.page.evaluate(STORED) == ["emptied"]
    user.message_box.fill("")
    assert user.page.evaluate(STORED) == []


def test_each_thread_has_its_own_and_a_quotation_stays(user: User) -> None:
    user.ask("show notice")
    given = Given(user)
    given.call("setComposerValue({text: 'about the notice', reply: 'Noticed.'})")
    new_thread(user.page)
    expect(user.message_box).to_have_value("")
    expect(user.page.locator(".composer-quote")).to_be_hidden()
    user.message_box.fill("something else")
    open_only_thread(user)
    expect(user.message_box).to_have_value("about the notice")
    user.page.reload()
    expect(user.message_box).to_have_value("about the notice")
    expect(user.page.locator(".composer-quote")).to_have_text("Noticed.")
    new_thread(user.page)
    expect(user.message_box).to_have_value("something else")


def test_it_comes_before_what_is_typed_while_the_thread_is_loaded(user: User) -> None:
    user.ask("show notice")
    user.message_box.fill("before")
    held = Held(user.page, "threads.get_by_id")
    user.page.reload()
    expect(user.page.locator("#loading")).to_be_visible()
    expect(user.message_box).to_have_value("")
    user.message_box.fill("meanwhile")
    held.let_go()
    expect(user.message_box).to_have_value("before\n\nmeanwhile")


def test_another_user_of_the_browser_never_sees_it(user: User) -> None:
    user.allowed_errors.append("404")
    user.message_box.fill("secret of a new thread")
    user.page.reload()
    expect(user.message_box).to_have_value("secret of a new thread")
    user.message_box.fill("show notice")
    user.message_box.press("Enter")
    user.wait_for_end()
    user.message_box.fill("secret of a thread")
    new_thread(user.page)
    user.message_box.fill("another secret")
    user.page.go_back()
    of_the_thread = user.page.url
    user.page.get_by_role("button", name="Sign out").click()
    first, user.name = user.name, f"{user.name[:80]}-other"
    for path in ("/", of_the_thread):
        user.page.goto(path)
        if path == "/":
            user.page.get_by_label("Your name").fill(user.name)
            user.page.get_by_role("button", name="Sign in").click()
            expect(user.page.locator("#no-threads")).to_be_visible()
        else:
            expect(user.page.locator(".toast").first).to_be_visible()
        expect(user.page.locator("#welcome")).to_be_visible()
        expect(user.message_box).to_have_value("")
    user.page.get_by_role("button", name="Sign out").click()
    user.name = first
    user.sign_in()
    expect(user.message_box).to_have_value("another secret")
    open_only_thread(user)
    expect(user.message_box).to_have_value("secret of a thread")


def test_two_tabs_leave_each_others_words_alone(user: User) -> None:
    user.ask("show notice")
    user.message_box.fill("first")
    second = user.new_tab()
    other = second.get_by_role("textbox", name="Message", exact=True)
    expect(other).to_have_value("first")
    other.fill("second")
    expect(user.message_box).to_have_value("first")
    user.message_box.press_sequentially(" tab")
    expect(other).to_have_value("second")
    second.reload()
    expect(other).to_have_value("first tab")


def test_a_message_that_is_not_accepted_is_there_after_a_reload(user: User) -> None:
    Held(user.page, "threads.create")
    user.message_box.fill("on its way")
    user.message_box.press("Enter")
    expect(user.page.locator(".entry.pending")).to_have_count(1)
    user.page.reload()
    expect(user.message_box).to_have_value("on its way")


def test_a_deleted_thread_takes_its_own_along(user: User) -> None:
    user.ask("show notice")
    user.message_box.fill("about the notice")
    assert user.page.evaluate(STORED) == ["about the notice"]
    user.page.get_by_role("button", name=re.compile("^Delete")).first.click()
    user.page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(user.page.locator("#no-threads")).to_be_visible()
    expect(user.message_box).to_have_value("")
    user.page.wait_for_function(f"() => ({STORED})().length === 0")


def test_files_stay_with_the_thread_they_were_attached_in(user: User) -> None:
    user.ask("show notice")
    note = {"name": "note.txt", "mimeType": "text/plain", "buffer": b"note"}
    user.page.locator("#file").set_input_files([note])
    expect(user.page.locator("#attachments .chip:not(.uploading)")).to_have_count(1)
    new_thread(user.page)
    expect(user.page.locator("#attachments .chip")).to_have_count(0)
    open_only_thread(user)
    expect(user.page.locator("#attachments .chip")).to_have_text("note.txt")


@pytest.mark.parametrize(
    "storage",
    ["{get() { throw new DOMException('blocked', 'SecurityError') }}", "{value: null}", "{value: undefined}"],
    ids=["blocked", "absent", "undefined"],
)
def test_without_a_storage_only_what_outlives_the_page_is_lost(user: User, storage: str) -> None:
    user.ask("show notice")
    given = Given(user)
    user.page.evaluate(f"Object.defineProperty(window, 'localStorage', {storage})")
    given.options("{drafts: {user: 'ann'}}")
    user.message_box.fill("of a new thread")
    open_only_thread(user)
    expect(user.message_box).to_have_value("")
    user.message_box.fill("of the thread")
    new_thread(user.page)
    expect(user.message_box).to_have_value("of a new thread")
    user.message_box.fill("show notice again")
    user.message_box.press("Enter")
    expect(user.answers.last).to_contain_text("Noticed.")


def test_a_full_storage_costs_nothing_but_the_draft(user: User) -> None:
    user.page.evaluate("""() => {
      for (let size = 4_000_000; size >= 1; size = Math.floor(size / 2))
        for (let at = 0; ; at += 1)
          try { localStorage.setItem(`full ${size} ${at}`, "x".repeat(size)) } catch { break }
    }""")
    user.message_box.fill("show notice")
    assert user.page.evaluate(STORED) == []
    user.message_box.press("Enter")
    expect(user.answers).to_have_count(1)


def test_a_site_keeps_none_or_those_of_threads_alone(user: User) -> None:
    user.ask("show notice")
    user.message_box.fill("about the notice")
    new_thread(user.page)
    user.message_box.fill("of the demo's user")
    assert user.page.evaluate(STORED) == ["about the notice", "of the demo's user"]
    given = Given(user)
    given.options("{}")
    user.message_box.fill("of nobody known")
    assert user.page.evaluate(STORED) == ["about the notice", "of the demo's user"]
    open_only_thread(user)
    expect(user.message_box).to_have_value("about the notice")
    given.options("{drafts: false}")
    expect(user.message_box).to_have_value("")
    assert user.page.evaluate(STORED) == []
    user.message_box.fill("not kept")
    assert user.page.evaluate(STORED) == []


def test_another_user_in_the_options_begins_with_an_empty_box(user: User) -> None:
    given = Given(user)
    given.options("{drafts: {user: 'ann'}}")
    user.message_box.fill("of ann")
    given.options("{drafts: {user: 'ben'}}")
    expect(user.message_box).to_have_value("")
    given.options("{drafts: {user: 'ann'}}")
    expect(user.message_box).to_have_value("of ann")
