"""The page for everyone: by keyboard, on a narrow screen, in the dark, read aloud; and its list of threads."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.page.user import SHADOW, User
from tests.support.system import create

pytestmark = pytest.mark.browser

NARROW = {"width": 390, "height": 844}


def test_a_conversation_by_keyboard_alone(new_user: Callable[..., User]) -> None:
    user = new_user()
    user.page.goto("/")
    keyboard = user.page.keyboard
    expect(user.page.get_by_label("Your name")).to_be_focused()
    keyboard.type(user.name)
    keyboard.press("Enter")
    expect(user.message_box).to_be_focused()
    keyboard.type("Show me a checklist card")
    keyboard.press("Shift+Enter")
    keyboard.type("please")
    keyboard.press("Enter")
    expect(user.page.locator(".bubble")).to_have_text("Show me a checklist card\nplease", use_inner_text=True)
    user.wait_for_end()
    expect(user.message_box).to_be_focused()
    tab_to(user.page, "Done", back=True)
    keyboard.press("Enter")
    expect(user.page.locator(".w-card .w-caption")).to_have_text("1 of 3 done")
    keyboard.press("ControlOrMeta+Home")
    tab_to(user.page, "Skip to the message box", back=True)
    keyboard.press("Enter")
    expect(user.message_box).to_be_focused()
    keyboard.type("Write a long answer for 60 seconds")
    keyboard.press("Enter")
    user.wait_for_words(50)
    keyboard.press("Escape")
    expect(user.page.locator(".marker")).to_have_text("Stopped")
    tab_to(user.page, "New conversation", back=True)
    keyboard.press("Enter")
    expect(user.page.locator(".entry")).to_have_count(0)
    expect(user.message_box).to_be_focused()


def tab_to(page: Page, name: str, *, back: bool = False) -> None:
    """Presses Tab until what is focused has this name."""
    for _ in range(60):
        page.keyboard.press("Shift+Tab" if back else "Tab")
        focused = page.evaluate(
            "() => { let at = document.activeElement;"
            " while (at.shadowRoot?.activeElement) at = at.shadowRoot.activeElement;"
            " return at.getAttribute('aria-label') ?? at.innerText.trim(); }"
        )
        if focused == name:
            return
    raise AssertionError(f"Tab never came to {name!r}")


def test_a_finished_answer_is_announced_once_and_deltas_are_not(user: User) -> None:
    live = user.page.locator("#live")
    expect(live).to_have_attribute("aria-live", "polite")
    expect(user.page.get_by_role("log")).to_have_attribute("aria-live", "off")
    user.send("Write a long answer for 2 seconds")
    user.wait_for_words(50)
    assert "The way of a message" not in live.inner_text()
    user.wait_for_end()
    expect(live).to_contain_text("Assistant: The way of a message")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_narrow_screen_scrolls_one_way_and_slides_the_list_in(
    new_user: Callable[..., User], scheme: str, tmp_path: Path, shots: Path | None
) -> None:
    user = new_user(viewport=NARROW, color_scheme=scheme).sign_in()
    for text in ("show form", "show steps", "Write a long answer of 8 paragraphs"):
        user.send(text)
        user.wait_for_end() if "long" not in text else user.wait_for_words(400)
    picture = (shots or tmp_path) / f"narrow-{scheme}.png"
    user.page.screenshot(path=picture)
    assert picture.stat().st_size > 10_000
    user.wait_for_end()
    assert user.page.evaluate("document.documentElement.scrollWidth") == NARROW["width"]
    sidebar, menu = user.page.locator("#sidebar"), user.page.get_by_role("button", name="Conversations")
    expect(sidebar).to_be_hidden()
    menu.click()
    expect(user.page.get_by_role("button", name="New conversation")).to_be_focused()
    expect(sidebar).to_be_in_viewport()
    user.page.keyboard.press("Escape")
    expect(sidebar).to_be_hidden()
    expect(menu).to_be_focused()


def test_colours_have_the_contrast_of_aa_in_both_themes(new_user: Callable[..., User]) -> None:
    pairs = [
        ("text", "page"), ("text", "surface"), ("text", "sunken"), ("text", "accent-soft"), ("text", "raised"),
        ("muted", "page"), ("muted", "surface"), ("muted", "sunken"), ("muted", "raised"), ("accent", "page"),
        ("on-accent", "accent"), ("on-danger", "danger"), ("danger", "surface"), ("warning", "surface"),
        ("success", "raised"), ("accent", "raised"),
    ]  # fmt: skip
    for scheme in ("light", "dark"):
        user = new_user(color_scheme=scheme).sign_in()
        for front, back in pairs:
            ratio = contrast(*(user.page.evaluate(RESOLVED_COLOR, name) for name in (front, back)))
            assert ratio >= 4.5, f"{front} on {back}, {scheme}: {ratio:.2f}"


RESOLVED_COLOR = """name => {
  const inside = document.querySelector("relaykit-chat").shadowRoot;
  const probe = inside.appendChild(document.createElement("i"));
  probe.style.color = `var(--${name})`;
  const color = getComputedStyle(probe).color.match(/[\\d.]+/g).slice(0, 3).map(Number);
  probe.remove();
  return color;
}"""


def contrast(front: list[float], back: list[float]) -> float:
    """WCAG 2's contrast ratio of two sRGB colours."""

    def luminance(color: list[float]) -> float:
        parts = [value / 255 for value in color]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    lighter, darker = sorted((luminance(front), luminance(back)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def test_nothing_moves_for_those_who_asked_for_that(new_user: Callable[..., User]) -> None:
    user = new_user(reduced_motion="reduce").sign_in()
    user.send("Write a long answer for 2 seconds")
    user.wait_for_words(50)
    running = f"{SHADOW}.getAnimations().filter(animation => animation.playState === 'running').length"
    assert user.page.evaluate(running) == 0
    user.wait_for_end()


def test_a_thread_is_renamed_and_deleted_in_every_tab(user: User) -> None:
    user.ask("show notice")
    second = user.new_tab()
    expect(second.locator(".answer")).to_have_count(1)
    user.page.get_by_role("button", name="Rename").press("Enter")
    field = user.page.get_by_label("New title")
    field.fill("My notice")
    field.press("Enter")
    for page in (user.page, second):
        expect(page.get_by_role("button", name="My notice", exact=True)).to_be_visible()
    expect(user.page.locator("#title")).to_have_text("My notice")
    user.page.get_by_role("button", name="Delete “My notice”").press("Enter")
    dialog = user.page.get_by_role("dialog")
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    dialog.get_by_role("button", name="Delete").click()
    for page in (user.page, second):
        expect(page.locator(".threads li")).to_have_count(0)
        expect(page.locator(".entry")).to_have_count(0)
    assert "thread=" not in user.page.url


def test_older_threads_and_earlier_messages_come_page_by_page(user: User) -> None:
    for number in range(31):
        user.api(create(f"show notice {number}"))
    user.page.reload()
    expect(user.page.locator(".threads li")).to_have_count(30)
    user.page.get_by_role("button", name="Show older").click()
    expect(user.page.locator(".threads li")).to_have_count(31)
    expect(user.page.get_by_role("button", name="Show older")).to_be_hidden()
    user.page.locator(".thread-open").first.click()
    expect(user.page.locator(".bubble")).to_have_text(["show notice 30"])


def test_earlier_messages_are_loaded_above(user: User) -> None:
    user.ask("show notice")
    for number in range(30):
        request = create(f"show notice {number}")
        request |= {"type": "threads.add_user_message"}
        request["params"]["thread_id"] = user.thread_id
        user.api(request)
    user.page.reload()
    expect(user.page.locator(".entry")).to_have_count(50)
    user.page.get_by_role("button", name="Show earlier messages").click()
    expect(user.page.locator(".entry")).to_have_count(62)
    expect(user.page.locator(".bubble").first).to_have_text("show notice")


def test_the_name_is_remembered_and_signing_out_forgets_it(user: User) -> None:
    user.page.reload()
    expect(user.message_box).to_be_focused()
    assert "eyJ" not in json.dumps(user.page.evaluate("({...localStorage, ...sessionStorage})"))
    user.page.get_by_role("button", name="Sign out").click()
    expect(user.page.get_by_label("Your name")).to_be_focused()
    user.page.reload()
    expect(user.page.get_by_label("Your name")).to_be_focused()


def test_someone_elses_thread_is_not_shown(new_user: Callable[..., User]) -> None:
    owner = new_user("owner").sign_in()
    owner.ask("show notice")
    other = new_user("other").sign_in()
    other.allowed_errors.append("status of 404")
    other.page.goto(owner.page.url)
    expect(other.page.locator(".toast")).to_have_text("This is not there any more.")
    expect(other.page.locator(".entry")).to_have_count(0)
