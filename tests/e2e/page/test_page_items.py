"""What an answer can hold: widgets, client tools, effects, questions, steps, sources, images, notices, errors."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Request, Route, expect

from tests.e2e.page.user import SHADOW, User

pytestmark = pytest.mark.browser


def test_a_widgets_button_runs_its_action_and_the_card_changes(user: User) -> None:
    user.ask("Show me a checklist card")
    card = user.page.locator(".w-card")
    card.get_by_role("button", name="Done").first.click()
    expect(card.locator(".w-caption")).to_have_text("1 of 3 done")
    expect(card.get_by_role("button", name="Undo")).to_be_enabled()
    user.page.reload()
    expect(card.locator(".w-caption")).to_have_text("1 of 3 done")


def test_a_widgets_form_sends_what_it_holds_and_only_when_it_is_complete(user: User) -> None:
    user.ask("show form")
    card = user.page.locator(".w-card")
    expect(card).to_contain_text("Something from a later version")
    card.get_by_role("button", name="Book").click()
    expect(card.get_by_label("Your name")).to_be_focused()
    card.get_by_label("Your name").fill("Ada")
    card.get_by_role("combobox").select_option("10")
    card.get_by_label("With coffee").uncheck()
    card.get_by_role("button", name="Book").click()
    done = "Done: book with {'room': 'blue', 'guest': {'name': 'Ada'}, 'hour': '10', 'coffee': False}"
    expect(user.answers.last.locator(".answer")).to_have_text(done)


def test_a_synchronous_action_replaces_the_widget(user: User) -> None:
    user.ask("show form")
    user.page.get_by_role("button", name="Leave").click()
    expect(user.page.locator(".w-card")).to_have_text("You left the form.")


STYLES = """(elements, name) => elements.map((element) => getComputedStyle(element)[name])"""


def test_lists_and_the_like_run_in_their_own_direction_and_columns_as_they_are_aligned(user: User) -> None:
    user.ask("show mixed")
    answer = user.answers.last.locator(".markdown")
    parts = answer.locator(":is(ul, ol, blockquote, table)")
    assert parts.evaluate_all(STYLES, "direction") == ["rtl", "ltr", "rtl", "ltr"]
    aligned = answer.locator("td").evaluate_all(STYLES, "textAlign")
    assert [side.removeprefix("-webkit-") for side in aligned] == ["start", "center", "right"]


@pytest.mark.parametrize("loading", ["self", "container"])
def test_an_action_is_busy_until_its_run_ends_and_runs_once(user: User, loading: str) -> None:
    """Though the server draws the button anew meanwhile."""
    posts: list[Any] = []
    user.page.on(
        "request", lambda request: posts.append(request.post_data_json) if request.post_data else None
    )
    user.ask(f"show shop {loading}")
    card = user.page.locator(".w-card")
    card.get_by_role("button").click()
    expect(card.locator(".w-caption")).to_have_text("ordering")
    if loading == "container":
        expect(user.page.locator(".widget")).to_have_attribute("aria-busy", "true")
        expect(card.get_by_role("button")).to_have_attribute("aria-disabled", "true")
    card.get_by_role("button").focus()
    user.page.keyboard.press("Enter")
    user.send("That is all.")
    expect(user.page.get_by_text("Ordered.")).to_have_count(1)
    user.wait_for_end()
    expect(user.page.locator("[aria-busy=true]")).to_have_count(0)
    assert [post["type"] for post in posts].count("threads.custom_action") == 1


def test_a_list_shows_more_and_its_lines_are_actions(user: User) -> None:
    user.ask("show list")
    lines = user.page.locator(".w-list-button")
    expect(lines).to_have_count(2)
    user.page.get_by_role("button", name="Show 2 more").click()
    user.page.get_by_role("button", name="Choice 3").press("Enter")
    expect(user.answers.last.locator(".answer")).to_have_text("Done: choose with {'number': 3}")


def test_a_client_tool_runs_here_and_its_output_is_answered_once(user: User) -> None:
    user.ask("show notice")
    second = user.new_tab()
    expect(second.locator(".answer")).to_have_count(1)
    user.ask("What time is it?")
    answer = user.answers.last.locator(".answer")
    expect(answer).to_contain_text("Your browser says")
    expect(answer).to_contain_text("time_zone")
    for page in (user.page, second):
        expect(page.locator(".tool")).to_contain_text("Asked your browser: get_local_time")
    expect(second.locator(".answer")).to_have_count(2)
    calls = [item for item in user.stored_items() if item["type"] == "client_tool_call"]
    assert [call["status"] for call in calls] == ["completed"]
    assert calls[0]["output"]["time_zone"]


def _lose_tool_outputs(route: Route) -> None:
    is_output = "add_client_tool_output" in (route.request.post_data or "")
    route.abort() if is_output else route.continue_()


def test_a_client_tool_call_that_was_left_unanswered_is_answered_after_a_reload(user: User) -> None:
    held = "**/chatkit"
    user.page.route(held, _lose_tool_outputs)
    user.allowed_errors.append(r"net::ERR_FAILED")
    user.send("What time is it?")
    expect(user.page.locator(".tool")).to_be_visible()
    user.page.wait_for_function(
        "() => Object.keys(sessionStorage).some(key => key.startsWith('relaykit.tool.'))"
    )
    kept = user.page.evaluate("Object.values(sessionStorage).find(value => value.includes('time_zone'))")
    user.page.unroute(held)
    user.page.reload()
    expect(user.answers.last.locator(".answer")).to_contain_text("Your browser says")
    call = next(item for item in user.stored_items() if item["type"] == "client_tool_call")
    assert call["output"]["iso"] in kept


def test_an_effect_is_applied_once_though_a_reload_replays_its_run(user: User) -> None:
    user.send("show effects")
    root = user.page.locator("html")
    expect(root).to_have_attribute("data-theme", "dark")
    expect(user.page.locator(".toast")).to_have_text(
        ["Switched to the dark theme", "The assistant sent the effect “confetti”"]
    )
    user.page.reload()
    expect(user.answers.last.locator(".answer")).to_have_text("Applied.")
    user.wait_for_end()
    expect(user.page.locator(".toast")).to_have_count(0)
    assert root.get_attribute("data-theme") is None


def test_highlight_marks_the_text_on_the_page(user: User) -> None:
    user.ask("show notice")
    user.ask("highlight Nearly full")
    expect(user.page.locator(".toast")).to_have_text("Highlighted “Nearly full”")
    marked = "[...CSS.highlights.get('relaykit')].map(range => range.toString())"
    assert "Nearly full" in user.page.evaluate(marked)


def test_an_error_offers_retry_which_answers_the_same_message(user: User) -> None:
    user.ask("show failure")
    problem = user.page.get_by_role("alert")
    expect(problem).to_contain_text("The model is out for lunch.")
    problem.get_by_role("button", name="Retry").click()
    expect(user.answers.last.locator(".answer")).to_have_text("Back from lunch.")
    expect(problem).to_have_count(0)
    assert [item["type"] for item in user.stored_items()] == ["user_message", "assistant_message"]


def test_a_message_without_an_answer_can_be_retried_after_a_reload(user: User) -> None:
    user.ask("show failure")
    user.page.reload()
    expect(user.page.get_by_role("alert")).to_contain_text("Something went wrong while answering.")
    user.page.get_by_role("button", name="Retry").click()
    expect(user.answers.last.locator(".answer")).to_have_text("Back from lunch.")


def test_questions_are_answered_in_place(user: User) -> None:
    user.ask("show questions")
    form = user.page.locator("form.questions")
    form.get_by_label("Coffee").check()
    form.get_by_label("Anything else?").fill("No nuts")
    form.get_by_role("button", name="Answer").click()
    expect(user.answers.last.locator(".answer")).to_have_text("Noted.")
    expect(user.page.locator(".questions dd")).to_have_text(["Coffee", "No nuts"])
    item = next(item for item in user.stored_items() if item["type"] == "structured_input")
    assert item["status"] == "answered"


def test_questions_can_be_skipped(user: User) -> None:
    user.ask("show questions")
    user.page.get_by_role("button", name="Skip", exact=True).click()
    expect(user.page.locator(".questions dd")).to_have_text(["Skipped", "Skipped"])


def test_steps_and_sources_are_shown(user: User) -> None:
    user.ask("show steps")
    steps = user.page.locator(".workflow")
    expect(steps.locator("summary")).to_have_text("Looked for a room")
    steps.locator("summary").click()
    expect(steps.locator(".task.complete")).to_have_count(2)
    source = user.page.get_by_role("link", name="Room plan")
    expect(source).to_have_attribute("href", "https://example.org/rooms")
    expect(source).to_have_attribute("rel", "noopener noreferrer")


def test_images_and_notices_are_shown(user: User) -> None:
    user.ask("show image")
    assert user.page.get_by_alt_text("Generated image").evaluate("image => image.naturalWidth") == 1
    user.ask("show notice")
    notice = user.page.get_by_role("note")
    expect(notice).to_contain_text("Nearly full")
    expect(notice.locator("strong")).to_have_text(["Nearly full", "2"])


def test_a_closed_thread_says_why_and_takes_no_message(user: User) -> None:
    user.ask("show closing")
    expect(user.page.locator("#title")).to_have_text("A closed case")
    expect(user.page.locator("#composer-note")).to_have_text("This case is closed.")
    expect(user.message_box).to_be_disabled()
    user.page.reload()
    expect(user.message_box).to_be_disabled()


def test_an_answer_runs_nothing_loads_nothing_and_styles_nothing(user: User) -> None:
    requests: list[str] = []
    user.page.on("request", lambda request: requests.append(request.url))
    user.ask("show hostile")
    answer = user.answers.last.locator(".answer")
    expect(answer).to_contain_text("<script>")
    expect(
        answer.locator(
            "script, style, form, iframe, img, [onclick], [onerror], [style], [id], [class]:not(.markdown)"
        )
    ).to_have_count(0)
    expect(answer.locator("a[href^=javascript], a[href^=data]")).to_have_count(0)
    expect(answer.get_by_role("link", name="leak")).to_have_attribute(
        "href", "https://collector.invalid/?said=secret"
    )
    assert user.page.evaluate("window.pwned") is None
    assert not [url for url in requests if "collector" in url]


def test_an_attachment_is_uploaded_without_the_token_and_reaches_the_assistant(user: User) -> None:
    uploads: list[Request] = []
    user.page.on("request", lambda request: request.method == "PUT" and uploads.append(request))
    note = {"name": "note.txt", "mimeType": "text/plain", "buffer": b"Remember the milk."}
    user.page.locator("#file").set_input_files([note])
    expect(user.page.locator("#attachments .chip:not(.uploading)")).to_contain_text("note.txt")
    user.ask("What is this?")
    expect(user.answers.last.locator(".answer")).to_contain_text("note.txt")
    expect(user.page.locator(".entry.user .chip")).to_contain_text("note.txt")
    assert len(uploads) == 1
    assert "authorization" not in uploads[0].headers


def test_a_refused_attachment_says_why(user: User) -> None:
    user.allowed_errors.append("status of 4")
    program = {"name": "tool.exe", "mimeType": "application/x-msdownload", "buffer": b"MZ"}
    user.page.locator("#file").set_input_files([program])
    expect(user.page.locator(".toast")).to_contain_text("tool.exe:")
    expect(user.page.locator(".toast")).to_contain_text("Allowed:")
    expect(user.page.locator(".toast")).to_contain_text("text/csv")
    expect(user.page.locator("#attachments .chip")).to_have_count(0)


WRONG_TYPES = [
    ("data.csv", "application/vnd.ms-excel", "text/csv"),
    ("notes.md", "", "text/markdown"),
    ("app.log", "", "text/plain"),
    ("photo.jpg", "image/jpg", "image/jpeg"),
]
"""A file's name, what browsers say of it, and what it is."""

GIVE_FILES = """async ([how, files]) => {
  const target = document.querySelector("relaykit-chat").shadowRoot.querySelector("#composer textarea, #message");
  const dataTransfer = new DataTransfer();
  for (const [name, type] of files) dataTransfer.items.add(new File(["a,b"], name, { type }));
  const options = { bubbles: true, composed: true, cancelable: true };
  if (how === "paste") target.dispatchEvent(new ClipboardEvent("paste", { ...options, clipboardData: dataTransfer }));
  else target.dispatchEvent(new DragEvent("drop", { ...options, dataTransfer }));
}"""


@pytest.mark.parametrize("how", ["choose", "paste", "drop"])
def test_a_file_is_taken_whatever_the_browser_calls_it(user: User, how: str) -> None:
    """Its ending says what it is: to the server, in the upload, and to the assistant."""
    created: list[dict[str, Any]] = []
    uploads: list[str] = []

    def watch(request: Request) -> None:
        if request.method == "PUT":
            uploads.append(request.headers["content-type"])
        elif request.method == "POST" and "attachments.create" in (request.post_data or ""):
            created.append(request.post_data_json["params"])

    user.page.on("request", watch)
    if how == "choose":
        user.page.locator("#file").set_input_files(
            [{"name": name, "mimeType": said, "buffer": b"a,b"} for name, said, _ in WRONG_TYPES]
        )
    else:
        user.page.evaluate(GIVE_FILES, [how, [[name, said] for name, said, _ in WRONG_TYPES]])
    expect(user.page.locator("#attachments .chip:not(.uploading)")).to_have_count(len(WRONG_TYPES))
    right = {name: type for name, _, type in WRONG_TYPES}
    assert {each["name"]: each["mime_type"] for each in created} == right
    assert sorted(uploads) == sorted(right.values())
    user.ask("What are these?")
    stored = user.stored_items()[0]["attachments"]
    assert {each["name"]: each["mime_type"] for each in stored} == right


def test_an_image_is_previewed_on_every_name_of_this_machine(
    new_user: Callable[..., User], address: str
) -> None:
    user = new_user(at=address.replace("127.0.0.1", "localhost")).sign_in()
    pixel = user.page.evaluate(
        "() => { const c = new OffscreenCanvas(8, 8); c.getContext('2d').fillRect(0, 0, 8, 8);"
        " return c.convertToBlob().then(b => b.arrayBuffer()).then(b => [...new Uint8Array(b)]) }"
    )
    user.page.locator("#file").set_input_files(
        [{"name": "dot.png", "mimeType": "image/png", "buffer": bytes(pixel)}]
    )
    expect(user.page.locator("#attachments .chip:not(.uploading)")).to_be_visible()
    user.ask("What is this?")
    picture = user.page.locator(".entry.user .chip img")
    expect(picture).to_be_visible()
    user.page.wait_for_function(f"() => {SHADOW}.querySelector('.entry.user .chip img').naturalWidth === 8")


def test_an_image_whose_link_has_ended_gets_a_new_one(user: User) -> None:
    """A page that was open for days: the item it has holds a link that no API takes any more."""
    user.allowed_errors.append("status of 404")
    pixel = user.page.evaluate(
        "() => { const c = new OffscreenCanvas(8, 8); c.getContext('2d').fillRect(0, 0, 8, 8);"
        " return c.convertToBlob().then(b => b.arrayBuffer()).then(b => [...new Uint8Array(b)]) }"
    )
    user.page.locator("#file").set_input_files(
        [{"name": "dot.png", "mimeType": "image/png", "buffer": bytes(pixel)}]
    )
    expect(user.page.locator("#attachments .chip:not(.uploading)")).to_be_visible()
    user.ask("What is this?")
    asked: list[dict[str, Any]] = []

    def with_an_old_link(route: Route) -> None:
        """Of the pages that a thread is opened with; not of the one item that is asked for after that."""
        body = route.request.post_data_json
        if body["type"] == "items.list":
            asked.append(body["params"])
        if body["type"] != "items.list" or body["params"]["limit"] == 1:
            route.continue_()
            return
        answer = route.fetch()
        route.fulfill(response=answer, body=re.sub(r"expires=\d+", "expires=1", answer.text()))

    user.page.route("**/chatkit", with_an_old_link)
    user.page.reload()
    user.page.wait_for_function(f"() => {SHADOW}.querySelector('.entry.user .chip img')?.naturalWidth === 8")
    assert [params["limit"] for params in asked if params["limit"] == 1] == [1]
