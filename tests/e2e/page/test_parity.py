"""The options, methods and events of `@openai/chatkit`'s types that no other test drives (docs/browser-parity.md)."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Route, expect

from tests.e2e.page.test_element import Given
from tests.e2e.page.test_growing_answers import FROM_END
from tests.e2e.page.user import SHADOW, User

pytestmark = pytest.mark.browser


@pytest.fixture
def given(user: User) -> Given:
    return Given(user)


def logs(given: Given, name: str) -> list[dict[str, Any]]:
    return [log["data"] for log in given.told("log") if log["name"] == name]


LOG = "chat.addEventListener('chatkit.log', ({detail}) => told.push(['log', detail]))"

ANEW = """(options) => {
  window.told = [];
  const fresh = document.createElement("relaykit-chat");
  for (const type of ["ready", "thread.load.start", "thread.load.end", "thread.change", "log"])
    fresh.addEventListener(`chatkit.${type}`, ({detail}) => told.push([type, detail ?? null]));
  chat.replaceWith(fresh);
  window.chat = fresh;
}"""


def test_the_first_thread_is_loaded_once_the_chat_is_ready(given: Given) -> None:
    given.options("{}")
    given.user.ask("show notice")
    thread = given.user.thread_id
    given.page.evaluate(ANEW)
    given.options(f"{{initialThread: {json.dumps(thread)}, frameTitle: 'Help desk'}}")
    expect(given.last).to_have_text("Noticed.")
    names = [name for name, _ in given.page.evaluate("told") if name != "log"]
    assert names[:2] == ["ready", "thread.load.start"]
    assert sorted(names[2:]) == ["thread.change", "thread.load.end"]
    assert given.told("thread.load.start") == [{"threadId": thread}]
    expect(given.page.get_by_role("group", name="Help desk")).to_be_visible()


def test_the_log_tells_what_happens_and_no_word_of_it(given: Given) -> None:
    given.page.evaluate(LOG)
    given.options("{composer: {models: [{id: 'small', label: 'Small', default: true}]}}")
    given.user.ask("show notice")
    (submitted,) = logs(given, "composer.submit")
    assert submitted == {"thread_id": None, "attachments": 0, "tool_id": None, "model_id": "small"}
    requests = [(log["type"], log["status"]) for log in logs(given, "request.end")]
    assert ("threads.create", 200) in requests
    (end,) = logs(given, "run.end")
    assert end["status"] == "completed"
    assert "open" in [log["state"] for log in logs(given, "connection.change")]
    assert "Noticed" not in json.dumps(given.told("log"))
    assert "show notice" not in json.dumps(given.told("log"))


def test_a_refused_message_begins_no_response(given: Given) -> None:
    given.user.allowed_errors.append("status of 413")
    given.options("{}")

    def refuse(route: Route) -> None:
        if "threads.create" in (route.request.post_data or ""):
            route.fulfill(
                status=413, json={"error": {"code": "body_too_large", "message": "It is too large."}}
            )
        else:
            route.continue_()

    given.page.route("**/chatkit", refuse)
    refused = given.page.evaluate("() => chat.sendUserMessage({text: 'hello'}).catch(({message}) => message)")
    assert refused == "The message was not accepted."
    given.await_told("error")
    assert given.told("response.start") == given.told("response.end") == []


def test_an_action_of_the_pages_own_is_accepted_or_fails(given: Given) -> None:
    given.user.allowed_errors.append("status of 4")
    given.options("{}")
    given.user.ask("show form")
    item = given.page.locator(".entry:has(.w-card)").get_attribute("data-item")
    given.call(f"sendCustomAction({{type: 'book', payload: {{room: 'blue'}}}}, {json.dumps(item)})")
    expect(given.last).to_contain_text("Done: book with {'room': 'blue'}")
    failed = given.page.evaluate(
        "() => chat.sendCustomAction({type: 'book'}, 'nothing').catch(({message}) => message)"
    )
    assert failed == "The server did not accept the action."


def test_the_view_follows_an_answer_only_where_the_site_says_so(given: Given) -> None:
    for options, follows in (("{}", False), ("{thread: {autoScroll: true}}", True)):
        given.options(options)
        given.call("setThreadId(null)")
        given.user.send("show paragraphs")
        given.user.wait_for_end()
        if follows:
            given.page.wait_for_function(f"() => {FROM_END} < 2")
        else:
            assert given.page.evaluate(FROM_END) > 2


def test_the_header_is_the_sites_and_its_buttons_have_names(given: Given) -> None:
    given.options(
        """{header: {title: {enabled: false}, leftAction: {icon: "settings-cog", onClick: () => told.push(["left", 1])},
            rightAction: {icon: "sidebar-right", label: "Close the chat", onClick: () => told.push(["right", 1])}}}"""
    )
    expect(given.page.locator("#title")).to_be_hidden()
    given.page.get_by_role("button", name="Settings").click()
    given.page.get_by_role("button", name="Close the chat").click()
    assert given.told("left") == given.told("right") == [1]


def test_the_list_offers_what_the_site_allows(given: Given) -> None:
    given.options("{history: {enabled: true, showDelete: false, showRename: true}}")
    given.user.ask("show notice")
    threads = given.page.locator(".threads")
    expect(threads.get_by_role("button", name=re.compile("^Rename"))).to_have_count(1)
    expect(threads.get_by_role("button", name=re.compile("^Delete"))).to_have_count(0)
    given.options("{history: {enabled: true, showDelete: true, showRename: false}}")
    expect(threads.get_by_role("button", name=re.compile("^Rename"))).to_have_count(0)
    expect(threads.get_by_role("button", name=re.compile("^Delete"))).to_have_count(1)


COMPOSER = """{composer: {placeholder: "Ask away", dictation: {enabled: true}, attachments: {enabled: true},
  tools: [{id: "search", label: "Search the web", shortLabel: "Search", icon: "search", pinned: true},
          {id: "draw", label: "Draw", icon: "lucide:brush"}],
  models: [{id: "small", label: "Small", description: "Quick"}, {id: "old", label: "Old", disabled: true},
           {id: "large", label: "Large", default: true}]},
  disclaimer: {text: "Answers can be wrong.", highContrast: true},
  entities: {showComposerMenu: true,
    onTagSearch: async () => [{id: "e1", title: "Ada", icon: "user", group: "People"}]},
  commands: {enabled: true,
    onSearch: async () => [{id: "first"},
      {id: "more", label: "More", description: "Another menu", icon: "plus", group: "All"}],
    onSelect: async ({id}) => id === "more"
      ? {type: "menu", commands: [{id: "ada", label: "Ada's room"}]}
      : {type: "entity", entity: {id: "e1", title: "Ada"}}}}"""


def test_the_composer_offers_what_the_site_gives(given: Given) -> None:
    given.options(COMPOSER)
    box = given.user.message_box
    expect(box).to_have_attribute("placeholder", "Ask away")
    expect(given.page.get_by_role("button", name="Dictate")).to_be_visible()
    expect(given.page.locator("#attach")).to_be_visible()
    pinned = given.page.get_by_role("button", name="Search")
    expect(pinned).to_have_text("Search the web")
    pinned.click()
    expect(pinned).to_have_text("Search")
    assert given.told("tool.change") == [{"toolId": "search"}]
    given.call("setComposerValue({selectedToolId: null})")
    assert given.told("tool.change")[-1] == {"toolId": None}
    given.page.get_by_role("button", name="Tools").click()
    expect(given.page.get_by_role("menuitemradio", name="Draw")).to_be_visible()
    given.page.keyboard.press("Escape")
    models = given.page.get_by_role("button", name="Model: Large")
    models.click()
    expect(given.page.get_by_role("menuitemradio", name="Old")).to_have_attribute("aria-disabled", "true")
    expect(given.page.get_by_role("menuitemradio", name="Small")).to_contain_text("Quick")
    given.page.keyboard.press("Escape")
    given.page.get_by_role("button", name="Mention").click()
    expect(given.page.get_by_role("option", name="Ada")).to_be_visible()
    given.page.keyboard.press("Escape")
    colours = given.page.get_by_text("Answers can be wrong.").evaluate(
        "(node) => [getComputedStyle(node).color, getComputedStyle(node.getRootNode().host).color]"
    )
    assert colours[0] == colours[1]


def test_commands_without_a_label_have_their_id_and_lead_to_menus_and_entities(given: Given) -> None:
    given.options(COMPOSER)
    box = given.user.message_box
    box.press_sequentially("/")
    expect(given.page.get_by_role("option", name="first")).to_be_visible()
    given.page.get_by_role("option", name="More").click()
    given.page.get_by_role("option", name="Ada's room").click()
    expect(box).to_have_value(re.compile("@Ada"))
    given.options("{commands: {enabled: false}}")
    box.fill("")
    box.press_sequentially("/")
    expect(given.page.get_by_role("option")).to_have_count(0)


def test_what_is_sent_or_set_is_what_the_method_says(given: Given) -> None:
    given.options("{composer: {attachments: {enabled: true}}}")
    given.user.ask("show notice")
    tag = "[{type: 'input_text', text: 'For '}, {type: 'input_tag', id: 'e1', text: 'Ada'}]"
    given.call(f"setComposerValue({{content: {tag}, reply: 'What you said'}})")
    expect(given.user.message_box).to_have_value(re.compile("For @Ada"))
    expect(given.page.locator("#composer")).to_contain_text("What you said")
    given.call("setComposerValue({files: [new File(['words'], 'note.txt', {type: 'text/plain'})]})")
    expect(given.page.locator("#attachments")).to_contain_text("note.txt")
    attachment = "{type: 'file', id: 'atc_1', name: 'kept.txt', mime_type: 'text/plain'}"
    given.call(f"setComposerValue({{attachments: [{attachment}]}})")
    expect(given.page.locator("#attachments")).to_have_text(re.compile("kept.txt"))
    given.call("setComposerValue({attachments: [], content: [], reply: ''})")
    given.call("focusComposer()")
    expect(given.user.message_box).to_be_focused()
    before = given.user.thread_id
    given.call("sendUserMessage({text: 'show notice', newThread: true})")
    given.user.wait_for_end()
    assert given.user.thread_id != before


LOOK = """() => {
  const chat = document.querySelector("relaykit-chat");
  const of = getComputedStyle(chat);
  const value = (name) => of.getPropertyValue(name);
  return [of.fontFamily, value("--font-mono"), value("--density"), value("--control-radius"), of.colorScheme,
    of.backgroundColor, [...document.fonts].map(({family}) => family.replaceAll('"', ""))];
}"""


def test_typography_density_and_surfaces_are_the_themes(given: Given) -> None:
    given.user.allowed_errors.append("Loading the font")  # the page's policy has no fonts as data
    given.options(
        """{theme: {colorScheme: "light", radius: "pill", density: "spacious",
            typography: {baseSize: 15, fontFamily: "Own", fontFamilyMono: "Own Mono", fontSources: [{family: "Own",
              src: "data:font/woff2;base64,", weight: 400, style: "normal", display: "swap", unicodeRange: "U+0-FF"}]},
            color: {surface: {background: "#fafafa", foreground: "#ffffff"}, grayscale: {hue: 20, tint: 1, shade: -1},
              accent: {primary: "#663399", level: 1}}}}"""
    )
    family, mono, density, radius, scheme, background, fonts = given.page.evaluate(LOOK)
    assert family.startswith("Own")
    assert "Own Mono" in mono
    assert (float(density) > 1, scheme, background) == (True, "light", "rgb(250, 250, 250)")
    assert radius.strip() == "999px"
    assert "Own" in fonts


def test_a_fetch_of_the_sites_own_is_enough(given: Given) -> None:
    given.page.evaluate(
        """() => {
          const plain = async (input, init) => {
            const asked = await fetch("/dev/token", {method: "POST", headers: {"Content-Type": "application/json"},
              body: JSON.stringify({sub: window.who})});
            const {access_token: token} = await asked.json();
            return await fetch(input, {...init, headers: {...init?.headers, Authorization: `Bearer ${token}`}});
          };
          window.plain = {url: "/chatkit", domainKey: "none", fetch: plain};
        }"""
    )
    given.page.evaluate("(name) => { window.who = name; chat.setOptions({api: plain}) }", given.user.name)
    given.user.ask("show notice")
    expect(given.last).to_have_text("Noticed.")


def test_a_file_goes_straight_to_the_sites_address(given: Given) -> None:
    given.user.allowed_errors.append("status of 401")  # this fetch signs nobody in
    stored = {"type": "file", "id": "atc_1", "name": "note.txt", "mime_type": "text/plain"}
    given.page.route("**/upload-here", lambda route: route.fulfill(json=stored))
    given.page.evaluate(
        """() => {
          window.give = ({api, ...options}) =>
            chat.setOptions({api: {url: "/chatkit", domainKey: "none", ...api}, ...options}) }"""
    )
    given.options(
        "{composer: {attachments: {enabled: true}}, api: {uploadStrategy: {type: 'direct', uploadUrl: '/upload-here'}}}"
    )
    with given.page.expect_request("**/upload-here") as asked:
        given.page.locator("#file").set_input_files(
            [{"name": "note.txt", "mimeType": "text/plain", "buffer": b"words"}]
        )
    assert asked.value.method == "POST"
    expect(given.page.locator("#attachments")).to_contain_text("note.txt")


def test_sources_say_what_they_are_without_the_sites_help(given: Given, shots: Path | None) -> None:
    given.options("{}")
    given.user.ask("show sources")
    cites = given.last.locator(".cite > *")
    expect(cites).to_have_text(["1", "2", "Ada"])
    card = given.page.locator(".preview")
    for at, words in enumerate(
        (["Room plan", "example.org", "Each room"], ["The lease", "lease.pdf"], ["Ada Lovelace", "Countess"])
    ):
        cites.nth(at).hover()
        for word in words:
            expect(card).to_contain_text(word)
        if shots:
            given.page.screenshot(path=shots / f"parity-source-{at}.png")
        given.page.mouse.move(0, 0)
        expect(card).to_have_count(0)
    cites.first.focus()
    expect(card).to_contain_text("Room plan")
    given.assert_accessible()
    given.page.keyboard.press("Escape")
    expect(card).to_have_count(0)


def test_a_day_is_chosen_in_the_sites_words_by_keyboard(given: Given, shots: Path | None) -> None:
    given.page.set_viewport_size({"width": 1280, "height": 1100})
    given.options("{}")
    for _ in range(3):  # room for the calendar above its button
        given.user.ask("show notice")
    given.options("{locale: 'de'}")
    given.page.locator("#message").fill("show controls")
    given.page.locator("#message").press("Enter")
    given.user.wait_for_end()
    arrival = given.page.get_by_role("button", name="Arrival 31.03.2026")
    expect(given.page.get_by_role("button", name="Until when?")).to_be_visible()
    arrival.click()
    dialog = given.page.get_by_role("dialog", name="When?")
    expect(dialog).to_contain_text("März 2026")
    focused = dialog.get_by_role("button", name="Dienstag, 31. März 2026")
    expect(focused).to_be_focused()
    button, calendar = arrival.bounding_box(), dialog.bounding_box()
    assert button is not None
    assert calendar is not None
    assert calendar["y"] + calendar["height"] <= button["y"], "the calendar is not above the button"
    assert abs(calendar["x"] + calendar["width"] - button["x"] - button["width"]) < 2, (
        "not at the button's end"
    )
    given.assert_accessible()
    if shots:
        given.page.screenshot(path=shots / "parity-date.png")
    for key, day in (
        ("PageDown", "Donnerstag, 30. April 2026"),
        ("ArrowLeft", "Mittwoch, 29. April 2026"),
        ("Home", "Montag, 27. April 2026"),
        ("Shift+PageUp", "Montag, 2. März 2026"),
        ("ArrowDown", "Montag, 9. März 2026"),
    ):
        given.page.keyboard.press(key)
        expect(dialog.get_by_role("button", name=day)).to_be_focused()
    given.page.keyboard.press("Enter")
    expect(dialog).to_be_hidden()
    expect(given.page.get_by_role("button", name="Arrival 09.03.2026")).to_be_focused()
    given.page.get_by_role("button", name="Take it").click()
    answer = given.page.locator(".entry.assistant .answer").last
    expect(answer).to_contain_text("'arrival': '2026-03-09', 'departure': ''")


def test_a_language_that_cannot_be_loaded_is_told_once_and_the_next_options_show_at_once(
    given: Given,
) -> None:
    given.user.allowed_errors.append("net::ERR_FAILED")
    asked: list[str] = []

    def refuse(route: Route) -> None:
        asked.append(route.request.url)
        route.abort()

    given.page.route("**/relaykit-chat-sv.js", refuse)
    given.options("{locale: 'sv'}")
    given.await_told("error")
    prompts = "() => {give({locale: 'sv', composer: {placeholder: 'Say it'}}); return %s}"
    shown = f"{SHADOW}.querySelector('#message').placeholder"
    assert given.page.evaluate(prompts % shown) == "Say it"
    assert len(asked) == 1
    assert len(given.told("error")) == 1


def test_a_calendar_is_closed_by_the_button_that_opens_it(given: Given) -> None:
    given.options("{}")
    given.user.ask("show controls")
    button = given.page.locator(".w-date-button").first
    calendar = given.page.locator(".w-calendar").first
    button.click()
    expect(calendar).to_be_visible()
    expect(button).to_have_attribute("aria-expanded", "true")
    button.click()
    expect(button).to_have_attribute("aria-expanded", "false")
    expect(calendar).to_be_hidden()
    button.press("Enter")
    expect(calendar.locator(":focus")).to_have_count(1)
    given.page.keyboard.press("Escape")
    expect(calendar).to_be_hidden()
    expect(button).to_be_focused()


def test_a_day_can_be_cleared_and_survives_other_options(given: Given) -> None:
    given.options("{}")
    given.user.ask("show controls")
    given.page.get_by_role("button", name="Until when?").click()
    given.page.keyboard.press("Enter")
    chosen = given.page.locator(".w-date-button").last
    shown = chosen.inner_text()
    assert shown != "Until when?"
    given.options("{theme: 'dark'}")
    expect(chosen).to_have_text(shown)
    given.page.get_by_role("button", name="Clear").first.click()
    expect(given.page.locator(".w-date-button").first).to_have_text("When?")


def test_the_options_of_a_select_are_searched(given: Given, shots: Path | None) -> None:
    given.options("{}")
    given.user.ask("show controls")
    box = given.page.get_by_role("combobox", name="City")
    box.press_sequentially("o")
    options = given.page.get_by_role("option")
    expect(options).to_have_text(["Cork", "Lisbon"])
    given.assert_accessible()
    if shots:
        given.page.screenshot(path=shots / "parity-select.png")
    box.press("ArrowDown")
    box.press("Enter")
    expect(box).to_have_value("Lisbon")
    expect(options).to_have_count(0)
    box.fill("nowhere")
    expect(options).to_have_text(["Nothing found"])
    box.press("Escape")
    expect(box).to_have_value("Lisbon")
    given.page.get_by_role("button", name="Take it").click()
    expect(given.last).to_contain_text("'city': 'l'")


def test_what_a_widget_cannot_offer_looks_so(given: Given) -> None:
    given.options("{}")
    given.user.ask("show controls")
    card = given.page.locator(".w-card")
    expect(card.get_by_text("No data")).to_be_visible()
    assert (
        card.get_by_role("img", name="A dot").evaluate("(image) => getComputedStyle(image).objectFit")
        == "cover"
    )
    style = card.locator("input[disabled]").evaluate("(input) => getComputedStyle(input).cursor")
    assert style == "not-allowed"


def test_the_conversation_is_scrolled_by_keyboard_and_printed_whole(given: Given) -> None:
    given.options("{history: {enabled: false}}")
    given.user.ask("show paragraphs")
    scroller = given.page.get_by_role("group", name="Messages", exact=True)
    scroller.focus()
    given.page.keyboard.press("End")
    given.page.wait_for_function(f"() => {SHADOW}.querySelector('#scroller').scrollTop > 300")
    given.page.keyboard.press("Home")
    given.page.wait_for_function(f"() => {SHADOW}.querySelector('#scroller').scrollTop === 0")
    given.page.emulate_media(media="print")
    whole = given.page.evaluate(
        f"() => [chat, ...['#log', '#composer'].map((name) => {SHADOW}.querySelector(name))].map((e) => e.offsetHeight)"
    )
    assert whole[0] > whole[1] > 800
    assert whole[2] == 0


def test_each_icon_of_lucides_is_drawn(given: Given, shots: Path | None) -> None:
    given.options("{}")
    given.user.ask("show icons lucide:rocket lucide:arrow-down-a-z lucide:no-such-icon calendar")
    icons = given.page.locator(".w-card .w-icon")
    expect(icons.nth(0).locator("path")).to_have_count(4)
    expect(icons.nth(1).locator("path")).not_to_have_count(1)
    expect(icons.nth(2).locator("path")).to_have_count(1)
    if shots:
        given.page.screenshot(path=shots / "parity-icons.png")


def test_a_listener_that_was_removed_hears_nothing(given: Given) -> None:
    given.options("{}")
    given.page.evaluate(
        """() => {
          const hear = () => told.push(["own", 1]);
          chat.addEventListener("chatkit.response.start", hear);
          chat.removeEventListener("chatkit.response.start", hear);
        }"""
    )
    given.user.ask("show notice")
    assert given.told("response.start") == [None]
    assert given.told("own") == []
