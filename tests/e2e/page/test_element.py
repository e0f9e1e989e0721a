"""`<relaykit-chat>` by its options, methods and events: those of ChatKit's own element."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Route, expect

from tests.e2e.axe import assert_accessible
from tests.e2e.page.user import SHADOW, User

pytestmark = pytest.mark.browser

PREPARE = """async (name) => {
  const {createChatKitFetch} = await import("/demo/relaykit-chat.js");
  const getToken = async () => {
    const headers = {"Content-Type": "application/json"};
    const asked = await fetch("/dev/token", {method: "POST", headers, body: JSON.stringify({sub: name})});
    return (await asked.json()).access_token;
  };
  const api = {
    url: "/chatkit", domainKey: "none", uploadStrategy: {type: "two_phase"},
    fetch: createChatKitFetch({url: "/chatkit", getToken}),
  };
  window.chat = document.querySelector("relaykit-chat");
  window.told = [];
  for (const type of ["error", "effect", "deeplink", "response.start", "response.end", "history.open", "history.close",
      "thread.change", "thread.load.start", "thread.load.end", "tool.change"])
    chat.addEventListener(`chatkit.${type}`, ({detail}) => told.push([type, detail ?? null]));
  window.give = (options) => chat.setOptions({api, ...options});
}"""


class Given:
    """The page's chat, with options of the test's own."""

    def __init__(self, user: User) -> None:
        self.user, self.page = user, user.page
        self.page.evaluate(PREPARE, user.name)

    def options(self, javascript: str) -> None:
        self.page.evaluate(f"() => give({javascript})")
        expect(self.page.locator("#composer")).to_be_visible()

    def call(self, javascript: str) -> Any:
        """Of the element."""
        return self.page.evaluate(f"() => chat.{javascript}")

    def told(self, name: str) -> list[Any]:
        return [detail for told, detail in self.page.evaluate("told") if told == name]

    def await_told(self, name: str, count: int = 1) -> list[Any]:
        self.page.wait_for_function(
            "([name, count]) => told.filter(([told]) => told === name).length >= count", arg=[name, count]
        )
        return self.told(name)

    @property
    def last(self) -> Locator:
        return self.user.answers.last.locator(".answer")

    def assert_accessible(self) -> None:
        assert_accessible(self.page, "relaykit-chat")


@pytest.fixture
def given(user: User) -> Given:
    return Given(user)


ENTITIES = """{entities: {
  onTagSearch: async (query) => [
    {id: "e1", title: "Ada Lovelace", group: "People", interactive: true, data: {team: "one"}},
    {id: "e2", title: "Blue room", group: "Rooms"},
  ].filter(({title}) => title.toLowerCase().startsWith(query.toLowerCase())),
  onClick: (entity) => told.push(["entity", entity.id]),
}}"""


def test_an_entity_is_chosen_by_keyboard_and_reaches_the_server_as_a_tag(given: Given) -> None:
    given.options(ENTITIES)
    box = given.user.message_box
    box.press_sequentially("show input @A")
    options = given.page.get_by_role("option")
    expect(options).to_have_text([re.compile("Ada Lovelace")])
    given.assert_accessible()
    box.press("Enter")
    expect(box).to_have_value(re.compile("@Ada Lovelace"))
    box.press_sequentially("please")
    box.press("Enter")
    given.user.wait_for_end()
    expect(given.last).to_contain_text("('input_tag', 'Ada Lovelace')")
    given.page.locator(".entry.user").get_by_role("button", name="Ada Lovelace").click()
    assert given.told("entity") == ["e1"]


PREVIEW = """{entities: {
  onTagSearch: async () => [{id: "e1", title: "Ada Lovelace", interactive: true}],
  onRequestPreview: async () => ({preview: {type: "Basic", children: [{type: "Text", value: "Countess"}]}}),
}}"""


def test_an_entity_in_a_message_shows_its_preview(given: Given) -> None:
    given.options(PREVIEW)
    tag = "{type: 'input_tag', id: 'e1', text: 'Ada Lovelace', interactive: true}"
    given.call(f"sendUserMessage({{content: [{{type: 'input_text', text: 'show input '}}, {tag}]}})")
    given.user.wait_for_end()
    given.page.locator(".entry.user").get_by_role("button", name="Ada Lovelace").hover()
    expect(given.page.get_by_text("Countess")).to_be_visible()


def test_what_the_server_says_of_its_progress_is_shown_until_it_answers(given: Given) -> None:
    given.options("{}")
    given.user.send("show progress")
    progress = given.page.locator("#progress")
    expect(progress).to_have_text("Looking into the calendar")
    expect(progress.locator("svg")).to_be_visible()
    expect(given.last).to_have_text("Found.")
    expect(progress).to_be_hidden()


COMPOSER = """{composer: {
  tools: [{id: "search", label: "Search the web", icon: "search", placeholderOverride: "What for?"},
          {id: "draw", label: "Draw", icon: "images", persistent: true}],
  models: [{id: "small", label: "Small"}, {id: "large", label: "Large", description: "Slower", default: true}],
}, commands: {enabled: true, onSearch: async () => [{id: "hello", label: "Greet"}],
   onSelect: async ({id}) => void told.push(["command", id])}}"""


def test_tools_and_models_go_with_the_message(given: Given) -> None:
    given.options(COMPOSER)
    given.call("setComposerValue({selectedToolId: 'search', selectedModelId: 'small'})")
    expect(given.user.message_box).to_have_attribute("placeholder", "What for?")
    assert given.told("tool.change") == [{"toolId": "search"}]
    given.user.ask("show input")
    expect(given.last).to_contain_text("search small")
    assert given.told("tool.change") == [{"toolId": "search"}, {"toolId": None}]
    given.call("setComposerValue({selectedToolId: 'draw'})")
    for _ in range(2):
        given.user.ask("show input")
        expect(given.last).to_contain_text("draw small")


def test_a_slash_opens_the_commands(given: Given) -> None:
    given.options(COMPOSER)
    given.user.message_box.press_sequentially("/")
    expect(given.page.get_by_role("option", name="Greet")).to_be_visible()
    given.page.get_by_role("option", name="Greet").click()
    given.await_told("command")
    expect(given.user.message_box).to_have_value("")


def test_the_methods_do_what_those_of_the_stock_element_do(given: Given) -> None:
    given.options("{history: {enabled: true}}")
    given.call("sendUserMessage({text: 'show input', reply: 'Before', toolChoice: {id: 't'}, model: 'm'})")
    given.user.wait_for_end()
    expect(given.last).to_contain_text("[('input_text', 'show input')] Before t m")
    (thread,) = given.told("thread.change")
    assert (given.told("response.start"), given.told("response.end")) == ([None], [None])

    given.call("setComposerValue({text: 'Ready to send'})")
    expect(given.user.message_box).to_have_value("Ready to send")
    given.call("setThreadId(null)")
    expect(given.page.locator(".entry")).to_have_count(0)
    given.call(f"setThreadId({json.dumps(thread['threadId'])})")
    expect(given.page.locator(".entry.user")).to_have_count(1)
    assert given.told("thread.change") == [thread, {"threadId": None}, thread]
    assert given.told("thread.load.start") == given.told("thread.load.end") == [thread]

    rename = {"thread_id": thread["threadId"], "title": "By another way"}
    given.user.api({"type": "threads.update", "params": rename})
    given.call("fetchUpdates()")
    expect(given.page.locator("#title")).to_have_text("By another way")
    given.call("hideHistory()")
    expect(given.page.locator("#sidebar")).to_be_hidden()
    given.call("showHistory()")
    expect(given.page.locator("#sidebar")).to_be_visible()
    assert (given.told("history.close"), given.told("history.open")) == ([None], [None])


def test_the_message_that_is_being_written_can_be_read(given: Given) -> None:
    given.options("{}")
    given.call("setComposerValue({ text: 'half a', reply: 'a quote' })")
    value = given.page.evaluate("() => chat.getComposerValue()")
    assert (value["text"], value["reply"], value["attachments"]) == ("half a", "a quote", [])
    assert value["selectedToolId"] is None


def test_a_thread_that_is_not_there_fails_the_method_and_is_told(given: Given) -> None:
    given.user.allowed_errors.append("status of 404")
    given.options("{}")
    failed = given.page.evaluate("() => chat.setThreadId('thr_none').catch(({message}) => message)")
    assert failed == "This is not there any more."


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("null", "setOptions takes"),
        ("{}", "options.api is missing"),
        ("{api: {getClientSecret() {}}}", "hosted"),
    ],
)
def test_options_that_make_no_chat_are_refused_at_once(given: Given, options: str, message: str) -> None:
    said = given.page.evaluate(
        f"() => {{ try {{ chat.setOptions({options}) }} catch (error) {{ return String(error) }} }}"
    )
    assert said.startswith("TypeError")
    assert message in said


def test_a_deeplink_is_told_and_goes_nowhere(given: Given) -> None:
    given.options("{}")
    given.user.ask("show link")
    at = given.page.url
    given.last.get_by_text("Open the blue room").click()
    assert given.await_told("deeplink") == [{"name": "room", "data": {"name": "blue"}}]
    assert given.page.url == at


def test_the_page_hears_of_an_effect_once(given: Given) -> None:
    given.options("{}")
    given.user.ask("show effects")
    names = [effect["name"] for effect in given.await_told("effect", 2)]
    assert names == ["set_theme", "confetti"]


def test_a_site_says_what_an_answer_offers(given: Given) -> None:
    given.options("{threadItemActions: {retry: true}}")
    given.user.ask("show notice")
    tools = given.page.locator(".answer-tools")
    expect(tools.get_by_role("button", name="Good answer")).to_have_count(0)
    tools.get_by_role("button", name="Answer again").click()
    given.await_told("response.end", 2)
    expect(given.user.answers).to_have_count(1)
    given.options("{threadItemActions: {feedback: true}}")
    thumb = tools.get_by_role("button", name="Good answer")
    thumb.click()
    expect(thumb).to_have_attribute("aria-pressed", "true")
    expect(tools.get_by_role("button", name="Answer again")).to_have_count(0)


def test_header_start_screen_and_disclaimer_are_the_sites(given: Given) -> None:
    given.options(
        """{header: {title: {text: "Help desk"}, rightAction: {icon: "close", onClick: () => told.push(["closed", 1])}},
            startScreen: {greeting: "Good day", prompts: [{label: "A notice", prompt: "show notice", icon: "bolt"}]},
            disclaimer: {text: "Answers can be [wrong](https://example.org/why)."}, history: {enabled: false}}"""
    )
    expect(given.page.locator("#title")).to_have_text("Help desk")
    given.page.get_by_role("button", name="close").click()
    assert given.told("closed") == [1]
    expect(given.page.get_by_role("link", name="wrong")).to_have_attribute("rel", "noopener noreferrer")
    expect(given.page.locator("#sidebar")).to_be_hidden()
    expect(given.page.get_by_text("Good day")).to_be_visible()
    given.page.get_by_role("button", name="A notice").click()
    expect(given.last).to_have_text("Noticed.")
    given.page.get_by_role("button", name="New conversation").click()
    expect(given.page.locator(".entry")).to_have_count(0)
    given.options("{header: {enabled: false}}")
    expect(given.page.locator(".bar")).to_be_hidden()


def test_what_is_on_the_way_survives_new_options(given: Given) -> None:
    given.options("{}")
    given.user.send("Write a long answer for 4 seconds")
    given.user.wait_for_words(50)
    given.user.message_box.fill("half a thought")
    given.options("{theme: 'dark', locale: 'de'}")
    expect(given.user.message_box).to_have_count(0)
    expect(given.page.locator("#message")).to_have_value("half a thought")
    given.user.wait_for_end()
    stored = given.user.stored_answer()
    assert len(stored) > 200
    expect(given.page.locator("#stop")).to_be_hidden()


def test_words_and_direction_follow_the_locale(given: Given, shots: Path | None) -> None:
    given.options("{locale: 'de'}")
    root = given.page.locator(".chat")
    expect(root).to_have_attribute("lang", "de")
    expect(given.page.get_by_role("button", name="New conversation")).to_have_count(0)
    given.options("{locale: 'ar', threadItemActions: {feedback: true}}")
    expect(root).to_have_attribute("dir", "rtl")
    given.page.locator("#message").fill("show kinds")
    given.page.locator("#message").press("Enter")
    expect(given.page.get_by_role("button", name="Take it")).to_be_visible()
    given.assert_accessible()
    box, list_ = given.page.locator("#stage").bounding_box(), given.page.locator("#sidebar").bounding_box()
    assert box is not None
    assert list_ is not None
    assert box["x"] < list_["x"], "the list of threads is not on the right"
    if shots:
        given.page.screenshot(path=shots / "element-arabic.png")


def test_a_theme_colours_and_shapes_it(given: Given, shots: Path | None) -> None:
    given.options(
        """{theme: {colorScheme: "dark", radius: "sharp", density: "compact", typography: {baseSize: 18},
            color: {accent: {primary: "#ffcc00", level: 2}, grayscale: {hue: 260, tint: 6}}}}"""
    )
    given.user.message_box.fill("show notice")
    look = given.page.locator("#send").evaluate(
        "send => { const of = getComputedStyle(send), chat = getComputedStyle(send.getRootNode().host);"
        " return [of.backgroundColor, of.color, chat.fontSize, chat.colorScheme] }"
    )
    assert look == ["rgb(255, 204, 0)", "rgb(16, 19, 22)", "18px", "dark"]
    given.user.ask("show form")
    given.assert_accessible()
    if shots:
        given.page.screenshot(path=shots / "element-theme.png")
    given.options("{}")
    expect(given.page.locator("relaykit-chat")).not_to_have_attribute("style", re.compile("--accent"))


def test_widgets_of_every_kind_are_drawn_and_can_be_used(given: Given, shots: Path | None) -> None:
    given.options("{}")
    given.user.ask("show kinds")
    card = given.page.locator(".w-card")
    expect(card.get_by_role("columnheader", name="Room")).to_be_visible()
    expect(card.get_by_role("cell", name="Blue")).to_be_visible()
    expect(card.locator("svg rect, svg path").first).to_be_attached()
    given.assert_accessible()
    if shots:
        given.page.screenshot(path=shots / "element-widgets.png")
    card.get_by_label("Small").check()
    card.get_by_placeholder("A note").fill("Window seat")
    card.get_by_role("button", name="Take it").click()
    expect(given.last).to_contain_text("'day': '2026-03-01', 'size': 's', 'note': 'Window seat'")


def test_files_are_refused_before_they_are_sent(given: Given) -> None:
    given.options(
        "{composer: {attachments: {enabled: true, maxCount: 1, maxSize: 10, accept: {'text/plain': ['.txt']}}}}"
    )
    asked: list[str] = []
    given.page.on("request", lambda request: asked.append(request.post_data or ""))
    field = given.page.locator("#file")
    for name, kind, size in (("big.txt", "text/plain", 11), ("a.png", "image/png", 5)):
        field.set_input_files([{"name": name, "mimeType": kind, "buffer": b"x" * size}])
        expect(given.page.locator(".toast", has_text=name)).to_be_visible()
    expect(given.page.locator(".toast", has_text="a.png")).to_contain_text("Allowed: .txt.")
    expect(given.page.locator("#attachments .chip")).to_have_count(0)
    assert not any("attachments.create" in body for body in asked)


def test_a_chat_that_is_moved_in_the_page_goes_on(given: Given) -> None:
    given.options("{}")
    given.user.send("Write a long answer for 4 seconds")
    given.user.wait_for_words(50)
    given.page.evaluate("() => document.body.append(chat)")
    given.user.wait_for_words(100)
    given.page.evaluate(
        "() => new Promise((done) => { chat.remove(); setTimeout(() => { document.body.append(chat); done() }, 100) })"
    )
    given.user.wait_for_end()
    expect(given.user.answers).to_have_count(1)
    assert given.user.copied_answer() == given.user.stored_answer()


def test_new_options_leave_what_a_person_does_in_a_widget(given: Given) -> None:
    given.options("{}")
    given.user.ask("show form")
    name = given.page.locator(".w-card").get_by_label("Your name")
    name.fill("Ada")
    given.options("{theme: 'dark', entities: {onClick() {}}}")
    expect(name).to_have_value("Ada")


def test_a_site_can_have_the_view_stand_still(given: Given) -> None:
    given.options("{thread: {autoScroll: false}}")
    given.user.send("show paragraphs")
    given.user.wait_for_end()
    scroller = given.page.locator("#scroller")
    end = "node => node.scrollHeight - node.clientHeight - node.scrollTop"
    assert scroller.evaluate(end) > 100
    given.page.get_by_role("button", name="Go to the latest message").click()
    given.page.wait_for_function(f"() => ({end})({SHADOW}.querySelector('#scroller')) < 2")


def test_two_messages_at_once_in_a_new_chat_are_one_thread(given: Given) -> None:
    given.options("{}")
    given.page.evaluate(
        "() => { chat.sendUserMessage({text: 'show notice'}); chat.sendUserMessage({text: 'show link'}) }"
    )
    expect(given.user.answers).to_have_count(2)
    given.user.wait_for_end()
    assert len(given.told("thread.change")) == 1
    assert [item["type"] for item in given.user.stored_items()].count("user_message") == 2


def test_a_message_refused_after_its_thread_was_left_is_told_and_waits_there(given: Given) -> None:
    given.user.allowed_errors.append("status of 413")
    given.options("{}")
    given.user.ask("show notice")
    held: list[Route] = []

    def hold(route: Route) -> None:
        if "add_user_message" in (route.request.post_data or ""):
            held.append(route)
        else:
            route.continue_()

    given.page.route("**/chatkit", hold)
    given.user.message_box.fill("too much")
    given.user.message_box.press("Enter")
    expect(given.page.locator(".entry.pending")).to_be_visible()
    given.page.get_by_role("button", name="New conversation").click()
    expect(given.page.locator(".entry")).to_have_count(0)
    (route,) = held
    route.fulfill(status=413, json={"error": {"code": "body_too_large", "message": "It is too large."}})
    expect(given.page.locator(".toast")).to_have_text("The message is too large.")
    expect(given.user.message_box).to_have_value("")
    given.page.locator(".thread-open").click()
    expect(given.user.message_box).to_have_value("too much")


def test_escape_in_the_question_before_deleting_stops_no_answer(given: Given) -> None:
    given.options("{}")
    given.user.send("Write a long answer for 4 seconds")
    given.user.wait_for_words(20)
    given.page.get_by_role("button", name="Delete").first.press("Enter")
    given.page.get_by_role("dialog").press("Escape")
    given.user.wait_for_end()
    expect(given.page.locator(".marker")).to_have_count(0)


def test_taking_it_out_of_the_page_is_no_change_of_thread(given: Given) -> None:
    given.options("{}")
    given.user.ask("show notice")
    given.page.evaluate("() => { chat.remove(); return new Promise((done) => setTimeout(done, 100)) }")
    assert len(given.told("thread.change")) == 1
    given.page.evaluate("() => document.body.append(chat)")
    expect(given.last).to_have_text("Noticed.")


def test_a_page_without_tls_can_chat_and_run_client_tools(new_user: Callable[..., User]) -> None:
    """Where a browser has neither `crypto.randomUUID` nor locks."""
    user = new_user()
    user.context.add_init_script("delete Crypto.prototype.randomUUID; delete Navigator.prototype.locks")
    user.sign_in()
    assert user.page.evaluate("() => [crypto.randomUUID, navigator.locks]") == [None, None]
    user.ask("What time is it?")
    expect(user.answers.last.locator(".answer")).to_contain_text("Your browser says")


def test_a_message_that_waits_for_its_thread_holds_up_nothing_once_that_is_left(given: Given) -> None:
    given.options("{}")
    held: list[Route] = []

    def hold(route: Route) -> None:
        is_first = "threads.create" in (route.request.post_data or "") and not held
        held.append(route) if is_first else route.continue_()

    given.page.route("**/chatkit", hold)
    for text in ("first", "second"):
        given.user.message_box.fill(text)
        given.user.message_box.press("Enter")
    expect(given.page.locator(".entry.pending")).to_have_count(1)
    given.page.get_by_role("button", name="New conversation").click()
    expect(given.user.message_box).to_have_value("second")
    given.user.ask("show notice")
    expect(given.last).to_have_text("Noticed.")
    held[0].continue_()


BROKEN = """data: {"type":"thread.created"}

data: {"type":"thread.created","thread":{"id":"thr_x","created_at":"2026-01-01T00:00:00"}}

data: {"type":"thread.item.done","item":{"id":"m","type":"assistant_message",
data: "content":[{"type":"output_text","text":"Hi."}]}}

: end completed

"""


def test_an_event_that_is_not_what_it_says_costs_itself(given: Given) -> None:
    given.options("{history: {enabled: false}}")
    given.page.route("**/chatkit", lambda route: route.fulfill(content_type="text/event-stream", body=BROKEN))
    given.user.message_box.fill("hello")
    given.user.message_box.press("Enter")
    expect(given.last).to_have_text("Hi.")
    given.user.wait_for_end()
    (reported,) = given.user.errors
    assert reported.startswith("TypeError")
    given.user.errors.clear()
