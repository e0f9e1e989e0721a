"""What the example assistant offers beyond text, as a user of the page meets it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect

from tests.e2e.axe import assert_accessible
from tests.e2e.page.user import User

pytestmark = pytest.mark.browser

TONE = """() => {
  navigator.mediaDevices.getUserMedia = async () => {
    const context = new AudioContext();
    const tone = context.createOscillator();
    const out = context.createMediaStreamDestination();
    tone.connect(out);
    tone.start();
    return out.stream;
  };
}"""
"""A microphone that hears one tone."""


def last(user: User) -> Locator:
    return user.answers.last.locator(".answer")


def shoot(user: User, shots: Path | None, name: str) -> None:
    if shots:
        user.page.screenshot(path=shots / f"assistant-{name}.png")


def test_a_page_of_the_docs_is_found_previewed_and_read_by_the_model(user: User, shots: Path | None) -> None:
    box = user.message_box
    box.press_sequentially("look at @docs/protocol")
    option = user.page.get_by_role("option")
    expect(option).to_have_count(1)
    shoot(user, shots, "entity-search")
    assert_accessible(user.page, "relaykit-chat")
    option.click()
    box.press("Enter")
    expect(user.page.locator(".entry.user:not(.pending)")).to_have_count(1)
    user.wait_for_end()
    expect(last(user)).to_contain_text("the page docs/protocol.md: ")
    user.page.locator(".entry.user").get_by_role("button").first.hover()
    preview = user.page.locator(".preview")
    expect(preview).to_contain_text("docs/protocol.md")
    shoot(user, shots, "entity-preview")


def test_a_source_of_an_answer_has_the_preview_of_its_page(user: User) -> None:
    user.ask("What happens when the connection drops?")
    source = user.page.locator(".entry.assistant").get_by_role("button").and_(user.page.locator(".entity"))
    source.first.hover()
    expect(user.page.locator(".preview")).to_contain_text(re.compile(r"\.md"))


def test_the_chosen_model_answers(user: User, shots: Path | None) -> None:
    question = "What happens when the connection drops?"
    user.ask(question)
    expect(last(user)).to_contain_text("From ")
    user.page.get_by_role("button", name="Model: Scripted", exact=True).click()
    shoot(user, shots, "models")
    user.page.get_by_role("menuitemradio", name="Scripted, brief").click()
    user.ask(question)
    expect(last(user)).not_to_contain_text("From ")
    stored = [item for item in user.stored_items() if item["type"] == "user_message"]
    assert [item["inference_options"]["model"] for item in stored] == ["scripted", "scripted-brief"]


def test_the_chosen_tool_is_called_whatever_the_message_says(user: User, shots: Path | None) -> None:
    user.page.get_by_role("button", name="Tools").click()
    shoot(user, shots, "tools")
    user.page.get_by_role("menuitemradio", name="Search the docs").click()
    expect(user.message_box).to_have_attribute("placeholder", "What about?")
    user.ask("a cursor")
    expect(last(user)).to_contain_text(re.compile("From |nothing about that"))
    user.ask("a cursor")
    expect(last(user)).to_contain_text("scripted assistant")


def test_a_form_of_all_fields_is_sent_and_shows_what_was_kept(user: User, shots: Path | None) -> None:
    user.ask("give me a form")
    card = user.page.locator(".w-card")
    card.get_by_label("Name").fill("Docs site")
    card.get_by_role("combobox").select_option("Kubernetes")
    card.get_by_role("button", name="Since").click()
    day = card.locator(".w-day[aria-current=date]")
    since = day.get_attribute("data-day")
    day.press("Enter")
    card.get_by_label("Large").check()
    card.get_by_label("Tell me about updates").check()
    card.get_by_label("Note").fill("Soon")
    shoot(user, shots, "form")
    card.get_by_role("button", name="Send").click()
    expect(card).to_contain_text("Sent")
    shown = re.compile(f"Docs site.*Kubernetes.*{since}.*Large.*yes.*Soon", re.DOTALL)
    expect(card).to_have_text(shown)
    shoot(user, shots, "form-sent")
    user.page.reload()
    expect(card).to_have_text(shown)


def test_a_form_is_closed_without_a_run(user: User) -> None:
    user.ask("give me a form")
    user.page.get_by_role("button", name="Close", exact=True).click()
    expect(user.page.locator(".w-card")).to_have_text("The form was closed.")


def test_a_line_of_the_list_is_answered(user: User, shots: Path | None) -> None:
    user.ask("give me a list")
    shoot(user, shots, "list")
    line = user.page.locator(".w-list-button").nth(1)
    line.click()
    expect(user.answers).to_have_count(2)
    user.wait_for_end()
    expect(last(user).locator("blockquote")).to_be_visible()


def test_figures_are_drawn_anew_and_ask_the_page(user: User, shots: Path | None) -> None:
    user.ask("give me figures")
    card = user.page.locator(".w-card")
    expect(card.get_by_role("cell", name="Thu")).to_be_visible()
    shoot(user, shots, "figures")
    card.get_by_role("button", name="Draw a line chart").click()
    expect(card.get_by_role("button", name="Draw a bar chart")).to_be_visible()
    shoot(user, shots, "figures-line")
    card.get_by_role("button", name="Ask this page").click()
    expect(user.page.locator(".toast").last).to_contain_text("gallery.copy")


def test_questions_of_the_assistant_are_answered(user: User, shots: Path | None) -> None:
    user.ask("ask me something")
    form = user.page.locator("form.questions")
    form.get_by_label("Kubernetes").check()
    form.get_by_label("What do you want to know first?").fill("The cost")
    shoot(user, shots, "questions")
    form.get_by_role("button", name="Answer").click()
    expect(last(user)).to_contain_text("Thank you. Your answers: ")
    expect(last(user)).to_contain_text("The cost")


def test_speech_becomes_text_in_the_box(user: User, shots: Path | None) -> None:
    user.page.evaluate(TONE)
    user.page.get_by_role("button", name="Dictate").click()
    expect(user.page.get_by_role("button", name="Use the recording")).to_be_visible()
    shoot(user, shots, "recording")
    user.page.get_by_role("button", name="Use the recording").click()
    expect(user.message_box).to_have_value(re.compile(r"This is a recording of \d+ bytes\."))


def test_feedback_is_kept_and_the_model_knows_of_it(user: User) -> None:
    user.ask("hello")
    user.ask("hello again")
    good = user.page.get_by_role("button", name="Good answer")
    bad = user.page.get_by_role("button", name="Bad answer")
    good.first.click()
    expect(good.first).to_have_attribute("aria-pressed", "true")
    bad.last.click()
    expect(bad.last).to_have_attribute("aria-pressed", "true")
    user.page.reload()
    expect(user.answers).to_have_count(2)
    user.ask("What feedback did I give?")
    expect(last(user)).to_have_text("Of my answers you liked 1 and disliked 1.")
