"""What an item may do to the page: it is drawn by itself, inside of itself, and loads only what its thread allows."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Request, Route, expect

from tests.e2e.page.server import COVERING, PIXEL, TOO_DEEP
from tests.e2e.page.test_element import Given
from tests.e2e.page.user import SHADOW, User

pytestmark = pytest.mark.browser


@pytest.fixture
def given(user: User) -> Given:
    return Given(user)


def done(item_id: str, kind: str, **fields: object) -> dict[str, object]:
    item = {"id": item_id, "thread_id": "thr_x", "created_at": "2026-01-01T00:00:00", "type": kind, **fields}
    return {"type": "thread.item.done", "item": item}


def said(item_id: str, text: object, annotations: object = ()) -> dict[str, object]:
    part = {"type": "output_text", "text": text, "annotations": annotations}
    return done(item_id, "assistant_message", content=[part])


SECRET = "what was said"
BAD_NAME = {"toString": SECRET, "valueOf": SECRET}
"""Nothing makes a text of it."""
NOT_DRAWN = {
    "no-content": done("no-content", "assistant_message", content=None, said=SECRET),
    "no-tasks": done("no-tasks", "workflow", workflow={"type": "custom", "tasks": None, "said": SECRET}),
    "no-workflow": done("no-workflow", "workflow", said=SECRET),
    "no-task": done("no-task", "task", said=SECRET),
    "no-inputs": done("no-inputs", "structured_input", status="pending", inputs=SECRET),
    "no-words": done("no-words", "user_message", content=None, said=SECRET),
    "bad-call": done("bad-call", "client_tool_call", status="completed", name=BAD_NAME),
}
PARTLY_DRAWN = {
    "markdown": said("markdown", {"said": SECRET}),
    "source": said(
        "source",
        "Shown all the same.",
        [{"source": {"type": "url", "url": "https://a.example", "title": BAD_NAME}}],
    ),
    "annotation": said(
        "annotation", "Shown all the same.", [{"index": 5, "source": {"type": "file", "title": BAD_NAME}}]
    ),
    "component": done(
        "component",
        "widget",
        widget={
            "type": "Card",
            "children": [
                {"type": "Image", "size": BAD_NAME, "width": BAD_NAME, "src": PIXEL, "aspectRatio": 1},
                {"type": "ListView", "limit": {}, "children": [None, 7, {"type": "Text", "value": "Shown"}]},
                {
                    "type": "Chart",
                    "data": [None],
                    "series": [{"type": "bar", "dataKey": BAD_NAME}],
                    "height": BAD_NAME,
                },
                {"type": "Text", "value": "Shown all the same."},
            ],
        },
    ),
    "task": done(
        "task",
        "workflow",
        workflow={
            "type": "custom",
            "tasks": [
                {"type": "custom", "queries": SECRET},
                {"type": "custom", "title": "Shown all the same."},
            ],
            "expanded": True,
        },
    ),
    "attachment": done(
        "attachment",
        "user_message",
        content=[{"type": "input_text", "text": "Shown all the same."}, None],
        attachments=[None, {"type": "image", "name": "a.png", "preview_url": BAD_NAME}],
    ),
}


def nested_widget(depth: int) -> dict[str, object]:
    """Of so many columns in each other, around a text."""
    widget: dict[str, object] = {"type": "Text", "value": "innermost"}
    for _ in range(depth):
        widget = {"type": "Col", "children": [widget]}
    return {"type": "Card", "children": [{"type": "Text", "value": "outermost"}, widget]}


def stream(events: list[dict[str, object]]) -> str:
    thread = {"id": "thr_x", "created_at": "2026-01-01T00:00:00"}
    all_events = [{"type": "thread.created", "thread": thread}, *events]
    return "".join(f"data: {json.dumps(event)}\n\n" for event in all_events) + ": end completed\n\n"


def answer_with(given: Given, events: list[dict[str, object]]) -> None:
    body = stream(events)
    given.options("{history: {enabled: false}}")
    given.page.evaluate(
        "() => chat.addEventListener('chatkit.log', ({detail}) => told.push(['log', detail]))"
    )
    given.page.route("**/chatkit", lambda route: route.fulfill(content_type="text/event-stream", body=body))
    given.user.message_box.fill("hello")
    given.user.message_box.press("Enter")
    given.user.wait_for_end()


def test_an_item_that_cannot_be_drawn_is_shown_as_such_and_takes_no_other_along(given: Given) -> None:
    answer_with(given, [*NOT_DRAWN.values(), said("last", "Behind all of it.")])
    expect(given.last).to_have_text("Behind all of it.")
    expect(given.page.locator(".entry.undrawn")).to_have_count(len(NOT_DRAWN))
    expect(given.page.locator(".entry.undrawn").first).to_have_text("This message cannot be shown.")
    given.assert_accessible()
    logged = [entry for entry in given.told("log") if entry["name"].endswith("not_drawn")]
    assert [entry["data"]["item_id"] for entry in logged] == [*NOT_DRAWN]
    assert {entry["name"] for entry in logged} == {"item.not_drawn"}
    assert len(given.told("error")) == len(NOT_DRAWN)
    assert SECRET not in given.page.evaluate(
        "() => JSON.stringify(told) + told.map(([, one]) => one?.error).join()"
    )


def test_a_part_that_cannot_be_drawn_costs_itself_and_not_its_item(given: Given) -> None:
    answer_with(given, [*PARTLY_DRAWN.values(), said("last", "Behind all of it.")])
    expect(given.last).to_have_text("Behind all of it.")
    expect(given.page.locator(".entry.undrawn")).to_have_count(0)
    expect(given.page.get_by_text("Shown all the same.")).to_have_count(len(PARTLY_DRAWN) - 1)
    logged = [entry["data"] for entry in given.told("log") if entry["name"].endswith("not_drawn")]
    told = {(data["item_id"], data["part"]) for data in logged}
    assert told >= {(name, name) for name in ("markdown", "task", "attachment")}, told
    assert SECRET not in json.dumps(given.told("log"))


PIECEWISE = """{history: {enabled: false}, thread: {autoScroll: true},
  api: {url: "/chatkit", domainKey: "none", fetch: async () => {
  if (window.stream !== undefined) return new Response("{}", {status: 404});
  const body = new ReadableStream({start: (controller) => { window.stream = controller }});
  return new Response(body, {headers: {"Content-Type": "text/event-stream"}});
}}}"""


def test_an_item_that_fails_while_it_grows_is_drawn_once_it_can_be(given: Given) -> None:
    given.options(PIECEWISE)
    given.user.message_box.fill("hello")
    given.user.message_box.press("Enter")
    given.page.wait_for_function("window.stream !== undefined")

    def push(*events: dict[str, object]) -> None:
        text = "".join(f"data: {json.dumps(event)}\n\n" for event in events)
        given.page.evaluate("text => stream.enqueue(new TextEncoder().encode(text))", text)

    thread = {"id": "thr_x", "created_at": "2026-01-01T00:00:00"}
    push({"type": "thread.created", "thread": thread}, {**said("grows", "It"), "type": "thread.item.added"})
    expect(given.last).to_have_text("It")
    push(
        {**done("grows", "assistant_message", content=None), "type": "thread.item.added"},
        said("other", "Another."),
    )
    expect(given.page.locator(".entry.undrawn")).to_be_visible()
    expect(given.last).to_have_text("Another.")
    push(said("grows", "It has grown."))
    expect(given.user.answers.locator(".answer")).to_have_text(["It has grown.", "Another."])
    given.page.evaluate("stream.close()")
    assert len(given.told("error")) >= 1


def test_a_widget_is_drawn_as_deep_as_a_browser_can_lay_out(given: Given) -> None:
    answer_with(given, [done("deep", "widget", widget=nested_widget(400)), said("last", "Behind all of it.")])
    expect(given.page.get_by_text("outermost")).to_be_visible()
    expect(given.page.get_by_text("innermost")).to_have_count(0)
    expect(given.last).to_have_text("Behind all of it.")


def test_markdown_that_nests_too_deep_is_shown_and_what_follows_it_too(user: User) -> None:
    user.ask("show deep")
    for _ in range(2):
        expect(user.answers).to_have_count(len(TOO_DEEP) + 1)
        expect(user.answers.last.locator(".answer")).to_have_text("Behind all of it.")
        for at, word in enumerate(("quoted", "numbered", "emphasised")):
            expect(user.answers.nth(at)).to_contain_text(word)
        expect(user.page.locator(".entry.undrawn")).to_have_count(0)
        user.page.reload()


NAMES = """() => {
  const names = new Set();
  for (let at = HTMLFormElement.prototype; at !== null; at = Object.getPrototypeOf(at))
    for (const name of Object.getOwnPropertyNames(at)) names.add(name);
  return [...names];
}"""
SUBMIT_ALL = """() => {
  for (const form of chat.shadowRoot.querySelectorAll(".widget form"))
    [...Element.prototype.querySelectorAll.call(form, "button")].at(-1).click();
}"""


def test_every_property_of_a_form_can_be_the_name_of_a_field(given: Given) -> None:
    names = [name for name in given.page.evaluate(NAMES) if "." not in name]
    assert len(names) > 300
    assert {"style", "dataset", "querySelectorAll", "elements", "submit", "id", "__proto__"} <= {*names}
    given.options(
        "{widgets: {onAction: async ({payload}) => void told.push(['action', JSON.stringify(payload)])}}"
    )
    given.user.ask(f"show forms {' '.join(names)}")
    expect(given.last).to_have_text("These are all.")
    expect(given.page.locator(".entry.undrawn")).to_have_count(0)
    expect(given.page.locator(".widget form")).to_have_count(len(names))
    fields = given.page.locator(".widget input")
    assert fields.evaluate_all("all => all.filter((one) => one.labels.length !== 1).length") == 0
    paddings = given.page.locator(".widget form").evaluate_all(
        "all => all.map((one) => getComputedStyle(one).padding)"
    )
    assert {*paddings} == {"8px"}
    given.page.evaluate(SUBMIT_ALL)
    taken = [json.loads(payload) for payload in given.await_told("action", len(names))]
    assert {json.dumps(payload, sort_keys=True) for payload in taken} == {
        json.dumps({"expected": name, name: "given"}, sort_keys=True) for name in names
    }


def test_a_widget_covers_nothing_around_it(user: User) -> None:
    user.ask("show covering")
    expect(user.answers.last).to_contain_text("Behind the widgets.")
    expect(user.page.locator(".widget")).to_have_count(len(COVERING))
    covered = user.page.evaluate(
        f"""() => {{
          const root = {SHADOW};
          const outside = [...root.querySelectorAll(".entry.user .bubble, .entry.assistant .answer, #composer, .bar")];
          return outside.filter((one) => {{
            one.scrollIntoView({{block: "center"}});
            const {{left, top, width, height}} = one.getBoundingClientRect();
            const hit = root.elementFromPoint(left + width / 2, top + height / 2);
            return hit === null || hit.closest(".widget") !== null;
          }}).map((one) => one.className);
        }}"""
    )
    assert covered == []


def test_no_image_is_loaded_from_a_host_that_the_thread_does_not_allow(new_user: Callable[..., User]) -> None:
    """With the page's own policy taken off, so that the element alone stands between."""
    user = new_user(bypass_csp=True)
    asked: list[Request] = []

    def serve(route: Route) -> None:
        asked.append(route.request)
        route.fulfill(content_type="image/png", body=base64.b64decode(PIXEL.split(",")[1]))

    user.context.route(re.compile("^https://"), serve)
    user.sign_in()
    user.ask("show images")
    hosts = {"image", "favicon", "generated", "markdown"}
    names = ["/icon.svg", "data:", "https://allowed.example/"]
    for name in names:
        for where in (".w-image", ".w-favicon", "img.generated", ".markdown img"):
            shown = user.page.locator(f"{where}[src*='{name}']")
            expect(shown).to_have_attribute("referrerpolicy", "no-referrer")
            # An image of a widget is loaded once it is in sight; one of Markdown may be drawn anew as more text comes.
            shown.scroll_into_view_if_needed()
            expect(shown).to_have_js_property("complete", True)
            expect(shown).not_to_have_js_property("naturalWidth", 0)
    assert {request.url for request in asked} == {f"https://allowed.example/{name}.png" for name in hosts}
    assert [request.headers.get("referer") for request in asked] == [None] * len(hosts)
    expect(user.page.locator(".w-caption")).to_have_text("Image of https://refused.exam")
    for text, name in (("Generated image", "generated"), ("Markdown", "markdown")):
        link = user.page.get_by_role("link", name=text)
        expect(link).to_have_attribute("href", f"https://refused.example/{name}.png")
