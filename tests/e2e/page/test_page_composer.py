"""What a person does with messages: marks, files, quotations, messages that wait, and the keyboard."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.page.test_element import Given
from tests.e2e.page.test_hostile_items import answer_with, said
from tests.e2e.page.user import SHADOW, User

pytestmark = pytest.mark.browser

FOCUSED = """() => {
  let at = document.activeElement;
  while (at.shadowRoot?.activeElement) at = at.shadowRoot.activeElement;
  return at.getAttribute("aria-label") ?? at.id ?? at.innerText;
}"""


def shot(page: Page, shots: Path | None, name: str) -> None:
    if shots:
        page.screenshot(path=shots / f"{name}.png")


def go_on(user: User) -> None:
    """Lets `show hold` come to its end."""
    user.api({"type": "threads.update", "params": {"thread_id": user.thread_id, "title": "Go on"}})


# --- marks


def test_what_was_stopped_says_so_after_a_reload_and_after_the_next_message(
    user: User, shots: Path | None
) -> None:
    user.send("Write a long answer for 60 seconds")
    user.wait_for_words(100)
    user.page.get_by_role("button", name="Stop").click()
    user.wait_for_end()
    expect(user.page.locator(".marker")).to_have_text("Stopped")
    user.ask("show notice")
    user.page.reload()
    expect(user.answers).to_have_count(2)
    shown = user.page.locator(".log > *").evaluate_all("nodes => nodes.map(node => node.className)")
    assert shown == ["entry user", "entry assistant", "marker", "entry user", "entry assistant"]
    shot(user.page, shots, "stopped-reloaded")


@pytest.mark.parametrize("when", ["early", "late"])
def test_what_has_failed_says_so_after_a_reload_and_after_the_next_message(
    user: User, when: str, shots: Path | None
) -> None:
    user.ask(f"show crash {when}")
    problem = user.page.get_by_role("alert")
    expect(problem).to_contain_text("Something went wrong while answering.")
    expect(user.page.get_by_role("button", name="Good answer")).to_have_count(0)
    expect(user.page.locator(".entry.assistant")).to_have_count(1 if when == "late" else 0)
    if when == "late":
        expect(user.page.locator(".entry.assistant")).to_contain_text("It begins well, and")
    user.page.reload()
    expect(problem).to_contain_text("What had been written was not kept.")
    expect(problem.get_by_role("button", name="Retry")).to_be_visible()
    expect(user.page.locator(".entry.assistant")).to_have_count(0)
    shot(user.page, shots, f"failed-{when}-reloaded")
    user.ask("show notice")
    for _ in range(2):
        expect(user.answers.last).to_contain_text("Noticed.")
        expect(problem).to_contain_text("What had been written was not kept.")
        expect(problem.get_by_role("button", name="Retry")).to_have_count(0)
        classes = user.page.locator(".log > *").evaluate_all("nodes => nodes.map(node => node.className)")
        assert classes[:3] == ["entry user", "problem", "entry user"]
        user.page.reload()


def test_a_failed_answer_that_was_tried_again_has_no_mark(user: User) -> None:
    user.ask("show failure")
    user.page.get_by_role("button", name="Retry").click()
    expect(user.answers.last.locator(".answer")).to_have_text("Back from lunch.")
    user.page.reload()
    expect(user.answers).to_have_count(1)
    expect(user.page.get_by_role("alert")).to_have_count(0)


def test_feedback_is_what_it_was_after_a_reload(user: User) -> None:
    user.ask("show notice")
    good, bad = (user.page.get_by_role("button", name=f"{kind} answer") for kind in ("Good", "Bad"))
    good.click()
    expect(good).to_have_attribute("aria-pressed", "true")
    bad.click()
    expect(bad).to_have_attribute("aria-pressed", "true")
    expect(good).to_have_attribute("aria-pressed", "false")
    user.page.reload()
    expect(bad).to_have_attribute("aria-pressed", "true")
    expect(good).to_have_attribute("aria-pressed", "false")
    assert user.copied_answer() == user.stored_answer()


# --- messages that wait


def test_a_waiting_message_says_so_and_is_taken_back(user: User, shots: Path | None) -> None:
    user.send("show hold")
    expect(user.page.locator(".entry.assistant.open")).to_contain_text("One moment.")
    user.send("show notice")
    user.send("show image")
    waiting = user.page.locator(".entry.waiting")
    expect(waiting).to_have_count(2)
    expect(waiting.first).to_contain_text("Waiting for the answer before it")
    expect(user.page.locator("#progress")).to_have_text("Writing")
    shot(user.page, shots, "waiting")
    waiting.first.get_by_role("button", name="Take back").click()
    expect(waiting).to_have_count(1)
    expect(user.message_box).to_be_focused()
    go_on(user)
    user.wait_for_end()
    expect(waiting).to_have_count(0)
    texts = [item["content"][0]["text"] for item in user.stored_items() if item["type"] == "user_message"]
    assert texts == ["show hold", "show image"]
    expect(user.page.locator(".marker")).to_have_count(0)


def test_a_waiting_message_is_changed_also_after_a_reload_and_gone_in_another_tab(user: User) -> None:
    user.send("show hold")
    expect(user.page.locator(".entry.assistant.open")).to_be_visible()
    user.send("show notice")
    user.page.reload()
    waiting = user.page.locator(".entry.waiting")
    expect(waiting).to_have_count(1)
    expect(user.page.locator(".entry.assistant.open")).to_be_visible()
    shown = user.page.locator(".log > .entry").evaluate_all("nodes => nodes.map(node => node.className)")
    assert [each.split()[1] for each in shown] == ["user", "assistant", "user"]
    second = user.new_tab()
    expect(second.locator(".entry.waiting")).to_have_count(1)
    user.page.bring_to_front()
    waiting.get_by_role("button", name="Edit and send again").click()
    expect(user.message_box).to_have_value("show notice")
    expect(user.message_box).to_be_focused()
    expect(waiting).to_have_count(0)
    expect(second.locator(".entry.user")).to_have_count(1)
    user.send("show image")
    expect(waiting).to_contain_text("show image")
    go_on(user)
    user.wait_for_end()
    texts = [item["content"][0]["text"] for item in user.stored_items() if item["type"] == "user_message"]
    assert texts == ["show hold", "show image"]


# --- one's own messages


def test_ones_own_message_is_copied_and_comes_back_into_the_box(user: User) -> None:
    user.ask("show notice")
    message = user.page.locator(".entry.user")
    message.hover()
    message.get_by_role("button", name="Copy the message").click()
    expect(user.page.locator(".toast")).to_have_text("Copied")
    assert user.page.evaluate("navigator.clipboard.readText()") == "show notice"
    user.message_box.fill("and more")
    message.get_by_role("button", name="Edit and send again").click()
    expect(user.message_box).to_have_value("show notice\n\nand more")
    expect(user.message_box).to_be_focused()


FIRST_WEBKIT = """
const composed = Selection.prototype.getComposedRanges;
Selection.prototype.getComposedRanges = function (...shadowRoots) {
  if (!shadowRoots.every((root) => root instanceof ShadowRoot)) throw new TypeError("This is no ShadowRoot.");
  return composed.call(this, {shadowRoots});
};
"""
"""Takes the shadow roots without a name, as the first browser that had this did."""


@pytest.mark.parametrize("script", ["", FIRST_WEBKIT], ids=["now", "first WebKit"])
def test_a_selection_is_quoted(user: User, script: str, shots: Path | None) -> None:
    user.context.add_init_script(script)
    user.page.reload()
    user.ask("show notice")
    user.answers.last.locator(".answer p").click(click_count=3)
    quote = user.page.get_by_role("button", name="Quote", exact=True)
    expect(quote).to_be_visible()
    shot(user.page, shots, "quote-button")
    quote.click()
    expect(quote).to_be_hidden()
    expect(user.page.get_by_role("group", name="Quoted")).to_contain_text("Noticed.")
    expect(user.message_box).to_be_focused()
    shot(user.page, shots, "quoted")
    user.ask("show input")
    expect(user.answers.last).to_contain_text("Noticed.")
    message = user.stored_items()[-2]
    assert message["quoted_text"] == "Noticed."


SELECT_MOST = """() => {
  const paragraphs = chat.shadowRoot.querySelectorAll(".answer p");
  const range = new Range();
  range.setStartBefore(paragraphs[1000]);
  range.setEndAfter(paragraphs[paragraphs.length - 1]);
  window.looked = 0;
  for (const [type, name] of [[Element, "checkVisibility"], [TreeWalker, "nextNode"]]) {
    const method = type.prototype[name];
    type.prototype[name] = function (...given) {
      window.looked += 1;
      return method.apply(this, given);
    };
  }
  getSelection().removeAllRanges();
  getSelection().addRange(range);
}"""


def test_a_long_selection_is_offered_at_its_first_word_and_quoted_in_part(user: User) -> None:
    given = Given(user)
    answer_with(given, [said("long", "\n\n".join(f"word {number}" for number in range(2_000)))])
    given.page.evaluate(SELECT_MOST)
    quote = given.page.get_by_role("button", name="Quote", exact=True)
    expect(quote).to_be_visible()
    assert 0 < given.page.evaluate("window.looked") < 20
    quote.click()
    quoted = given.page.evaluate("() => chat.getComposerValue().then(({reply}) => reply)")
    assert quoted.split()[:4] == ["word", "1000", "word", "1001"]
    assert 1_900 < len(quoted) <= 2_000
    assert given.page.evaluate("window.looked") < 2_000


# --- files


DROP = """([on, names]) => {
  const target = document.querySelector("relaykit-chat").shadowRoot.querySelector(on);
  const dataTransfer = new DataTransfer();
  for (const name of names) dataTransfer.items.add(new File(["a,b"], name, { type: "text/csv" }));
  const options = { bubbles: true, composed: true, cancelable: true, dataTransfer };
  const over = !target.dispatchEvent(new DragEvent("dragover", options));
  return [over, !target.dispatchEvent(new DragEvent("drop", options))];
}"""


@pytest.mark.parametrize("place", ["#scroller", ".bar", "#sidebar", "#composer textarea"])
def test_files_are_taken_wherever_they_are_dropped(user: User, place: str) -> None:
    assert user.page.evaluate(DROP, [place, ["one.csv", "two.csv"]]) == [True, True]
    expect(user.page.locator("#attachments .chip:not(.uploading)")).to_have_count(2)


def test_a_closed_thread_takes_no_file_and_the_page_stays(user: User) -> None:
    user.ask("show closing")
    expect(user.message_box).to_be_disabled()
    assert user.page.evaluate(DROP, ["#scroller", ["one.csv"]]) == [True, True]
    expect(user.page.locator("#attachments .chip")).to_have_count(0)


def attach(user: User, name: str, type: str, content: bytes) -> None:
    user.page.locator("#file").set_input_files([{"name": name, "mimeType": type, "buffer": content}])
    expect(user.page.locator("#attachments .chip:not(.uploading)")).to_contain_text(name)


def test_a_sent_image_is_enlarged_by_keyboard_and_the_focus_comes_back(
    user: User, shots: Path | None
) -> None:
    pixels = user.page.evaluate(
        "() => { const c = new OffscreenCanvas(300, 200); const d = c.getContext('2d');"
        " d.fillStyle = 'teal'; d.fillRect(0, 0, 300, 200);"
        " return c.convertToBlob().then(b => b.arrayBuffer()).then(b => [...new Uint8Array(b)]) }"
    )
    attach(user, "teal.png", "image/png", bytes(pixels))
    user.ask("What is this?")
    chip = user.page.get_by_role("button", name="Open teal.png")
    chip.press("Enter")
    dialog = user.page.get_by_role("dialog", name="teal.png")
    expect(dialog.get_by_role("button", name="Close")).to_be_focused()
    user.page.wait_for_function(f"() => {SHADOW}.querySelector('.viewer img').naturalWidth === 300")
    shot(user.page, shots, "viewer")
    for _ in range(6):
        user.page.keyboard.press("Tab")
        assert user.page.evaluate(f"{SHADOW}.activeElement?.closest('.viewer') != null")
    with user.page.expect_download() as saved:
        dialog.get_by_role("link", name="Save").click()
    assert saved.value.suggested_filename == "teal.png"
    user.page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(chip).to_be_focused()


def test_a_generated_image_is_enlarged(user: User) -> None:
    user.ask("show image")
    user.page.get_by_role("button", name="Open Generated image").click()
    dialog = user.page.get_by_role("dialog", name="Generated image")
    expect(dialog.get_by_role("img")).to_be_visible()
    dialog.get_by_role("button", name="Close").click()
    expect(dialog).to_have_count(0)


def test_a_sent_file_is_saved_as_it_was_sent_also_after_a_reload(user: User) -> None:
    attach(user, "note.txt", "text/plain", b"Remember the milk.")
    user.ask("What is this?")
    for _ in range(2):
        with user.page.expect_download() as saved:
            user.page.get_by_role("button", name="Save note.txt").press("Enter")
        assert saved.value.suggested_filename == "note.txt"
        assert saved.value.path().read_bytes() == b"Remember the milk."
        user.page.reload()
        expect(user.answers).to_have_count(1)


# --- the keyboard


PRESS_ENTER = """([isComposing, breaks]) => {
  const box = document.querySelector("relaykit-chat").shadowRoot.querySelector("#message");
  const key = { key: "Enter", code: "Enter", isComposing, bubbles: true, composed: true, cancelable: true };
  const down = new KeyboardEvent("keydown", key);
  Object.defineProperty(down, "keyCode", { value: isComposing ? 229 : 13 });
  box.dispatchEvent(down);
  if (!breaks) return null;
  const input = { inputType: "insertLineBreak", bubbles: true, composed: true, cancelable: true };
  return box.dispatchEvent(new InputEvent("beforeinput", input));
}"""


def test_enter_sends_with_korean_input_and_confirms_with_japanese(user: User) -> None:
    """What Chromium sends for each: the Korean Enter also breaks the line."""
    user.message_box.fill("show notice")
    assert user.page.evaluate(PRESS_ENTER, [True, False]) is None
    expect(user.page.locator(".entry")).to_have_count(0)
    assert user.page.evaluate(PRESS_ENTER, [True, True]) is False
    expect(user.answers.last).to_contain_text("Noticed.")
    expect(user.page.locator(".bubble")).to_have_text(["show notice"])
    user.message_box.press("Shift+Enter")
    expect(user.message_box).to_have_value("\n")


def test_the_focus_is_somewhere_sensible_after_a_thread_was_deleted(user: User) -> None:
    for text in ("show notice", "show image"):
        user.ask(text)
        user.page.get_by_role("button", name="New conversation").click()
    threads = user.page.locator(".thread-open")
    expect(threads).to_have_count(2)
    for left in (1, 0):
        user.page.get_by_role("button", name="Delete", exact=False).first.press("Enter")
        user.page.get_by_role("dialog").get_by_role("button", name="Delete").click()
        expect(threads).to_have_count(left)
        expect(threads if left else user.page.get_by_role("button", name="New conversation")).to_be_focused()


def test_answers_to_questions_keep_the_focus_and_an_empty_answer_is_none(user: User) -> None:
    user.ask("show questions")
    answer = user.page.get_by_role("button", name="Answer", exact=True)
    answer.press("Enter")
    expect(user.page.locator(".toast")).to_have_text("Choose or write an answer, or skip the questions.")
    expect(user.page.get_by_label("Tea")).to_be_focused()
    assert user.stored_items()[-1]["status"] == "pending"
    user.page.get_by_label("Tea").check()
    answer.press("Enter")
    expect(user.answers.last.locator(".answer")).to_have_text("Noted.")
    expect(user.message_box).to_be_focused()


def test_a_german_page_says_errors_in_german(new_user: Callable[..., User]) -> None:
    user = new_user(locale="de-DE")
    user.allowed_errors.append("413")
    user.page.goto("/")
    user.page.get_by_label("Your name").fill(user.name)
    user.page.get_by_role("button", name="Sign in").click()
    too_large = {"error": {"code": "body_too_large", "message": "The body is larger than allowed."}}
    user.context.route("**/chatkit", lambda route: route.fulfill(status=413, json=too_large))
    box = user.page.get_by_role("textbox", name="Nachricht", exact=True)
    box.fill("zu viel")
    box.press("Enter")
    expect(user.page.locator(".toast").last).to_have_text("Die Nachricht ist zu groß.")
    expect(box).to_have_value("zu viel")
