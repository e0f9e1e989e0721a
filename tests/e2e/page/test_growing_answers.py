"""Reading an answer while it grows: scrolling away, selecting words, looking along a line of code."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.e2e.page.test_element import Given
from tests.e2e.page.test_hostile_items import PIECEWISE, said
from tests.e2e.page.user import SHADOW, User

pytestmark = pytest.mark.browser

SCROLLER = f"{SHADOW}.querySelector('#scroller')"
FROM_END = (
    f"(({{scrollHeight, clientHeight, scrollTop}}) => scrollHeight - clientHeight - scrollTop)({SCROLLER})"
)
LINES = "A line of the answer that is read.\n\n" * 60


class Growing:
    """An answer that grows as the test says."""

    def __init__(self, given: Given, options: str = PIECEWISE) -> None:
        self.given, self.page = given, given.page
        given.options(options)
        given.user.message_box.fill("hello")
        given.user.message_box.press("Enter")
        self.page.wait_for_function("() => window.stream !== undefined")
        thread = {"id": "thr_x", "created_at": "2026-01-01T00:00:00"}
        self.push(
            {"type": "thread.created", "thread": thread}, {**said("grows", ""), "type": "thread.item.added"}
        )
        self.text = ""

    def push(self, *events: dict[str, object]) -> None:
        text = "".join(f"data: {json.dumps(event)}\n\n" for event in events)
        self.page.evaluate("text => stream.enqueue(new TextEncoder().encode(text))", text)

    def grow(self, text: str) -> None:
        """Until the page shows it."""
        self.text += text
        self.push(delta(text))
        self.page.wait_for_function(
            """(text) => {
              const letters = (one) => one.replace(/[^\\p{L}\\p{N}]/gu, "");
              const shown = chat.shadowRoot.querySelector(".entry.assistant .answer")?.textContent ?? "";
              return letters(shown).endsWith(letters(text));
            }""",
            arg=re.sub(r"(?m)^ *\d\. ", "", text[-200:]),
        )

    def end(self) -> None:
        self.push(said("grows", self.text))
        self.page.evaluate("stream.close()")
        self.given.user.wait_for_end()

    def grow_by_itself(self) -> None:
        """A word for each frame, until the page's `stopped` is true."""
        self.page.evaluate(
            """([event]) => {
              window.frames_drawn = 0;
              const text = new TextEncoder().encode(`data: ${event}\\n\\n`);
              const grow = () => {
                if (window.stopped) return;
                window.frames_drawn += 1;
                stream.enqueue(text);
                requestAnimationFrame(grow);
              };
              grow();
            }""",
            [json.dumps(delta("a word of a line that grows "))],
        )
        self.page.wait_for_function("() => window.frames_drawn > 20")


def delta(text: str) -> dict[str, object]:
    update = {"type": "assistant_message.content_part.text_delta", "content_index": 0, "delta": text}
    return {"type": "thread.item.updated", "item_id": "grows", "update": update}


@pytest.fixture
def growing(user: User) -> Growing:
    return Growing(Given(user))


def by_wheel(growing: Growing) -> None:
    """As a trackpad scrolls."""
    growing.page.locator("#scroller").hover()
    for _ in range(20):
        growing.page.mouse.wheel(0, -8)
        growing.page.wait_for_timeout(16)


def by_keys(growing: Growing) -> None:
    growing.page.locator("#scroller").focus()
    for _ in range(3):
        growing.page.keyboard.press("ArrowUp")


def by_scrollbar(growing: Growing) -> None:
    """Which sets the place and sends no other event, a pixel a frame here."""
    growing.page.evaluate(
        f"""async () => {{
          for (let step = 0; step < 20; step += 1) {{
            {SCROLLER}.scrollTop -= 1;
            await new Promise(requestAnimationFrame);
          }}
        }}"""
    )


def by_finger(growing: Growing) -> None:
    session = growing.page.context.new_cdp_session(growing.page)
    session.send("Emulation.setTouchEmulationEnabled", {"enabled": True})
    x, y = 640, 200
    session.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
    for step in range(20):
        point = {"x": x, "y": y + 8 * step}
        session.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [point]})
        growing.page.wait_for_timeout(16)
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


COME_TO_REST = f"""async () => {{
  for (let [still, top] = [0, NaN]; still < 10; top = {SCROLLER}.scrollTop) {{
    await new Promise(requestAnimationFrame);
    still = {SCROLLER}.scrollTop === top ? still + 1 : 0;
  }}
}}"""
"""Ends once nothing has been scrolled for ten frames: a fling goes on after the finger."""


@pytest.mark.parametrize("scroll_up", [by_wheel, by_keys, by_scrollbar, by_finger])
def test_scrolling_up_ends_the_following_and_reaching_the_end_begins_it_again(
    growing: Growing, scroll_up: Callable[[Growing], None]
) -> None:
    page = growing.page
    growing.grow(LINES)
    page.wait_for_function(f"() => {FROM_END} < 2")
    growing.grow_by_itself()
    scroll_up(growing)
    page.wait_for_function(f"() => {FROM_END} > 8")
    page.evaluate(COME_TO_REST)
    before = page.evaluate(f"() => [{SCROLLER}.scrollTop, window.frames_drawn]")
    page.wait_for_function("before => window.frames_drawn > before + 40", arg=before[1])
    assert page.evaluate(f"() => {SCROLLER}.scrollTop") == pytest.approx(before[0], abs=1)
    expect(page.get_by_role("button", name="Go to the latest message")).to_be_visible()
    page.evaluate(f"() => {{ {SCROLLER}.scrollTop = 1e9 }}")
    before = page.evaluate(f"() => [{SCROLLER}.scrollHeight, window.frames_drawn]")
    page.wait_for_function(f"before => {SCROLLER}.scrollHeight > before + 60", arg=before[0])
    page.evaluate("() => { window.stopped = true }")
    page.wait_for_function(f"() => {FROM_END} < 2")


def test_the_way_to_the_end_is_offered_where_the_view_does_not_go_there_by_itself(user: User) -> None:
    growing = Growing(Given(user), PIECEWISE.replace("autoScroll: true", "autoScroll: false"))
    page = growing.page
    latest = page.get_by_role("button", name="Go to the latest message")
    growing.grow(LINES)
    expect(latest).to_be_visible()
    hidden = page.evaluate(
        f"""async () => {{
          const hidden = [];
          for (let step = 0; step < 10; step += 1) {{
            {SCROLLER}.scrollTop += 10;
            await new Promise((next) => requestAnimationFrame(() => requestAnimationFrame(next)));
            hidden.push({SHADOW}.querySelector("#latest").hidden);
          }}
          return hidden;
        }}"""
    )
    assert hidden == [False] * 10
    growing.end()
    assert page.evaluate(f"() => {FROM_END}") > 500
    expect(latest).to_be_visible()
    latest.click()
    page.wait_for_function(f"() => {FROM_END} < 2")
    expect(latest).to_be_hidden()


SELECT = """([words]) => {
  const walker = document.createTreeWalker(chat.shadowRoot.querySelector(".answer"), NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const at = walker.currentNode.data.indexOf(words);
    if (at === -1) continue;
    window.range = new Range();
    range.setStart(walker.currentNode, at);
    range.setEnd(walker.currentNode, at + words.length);
    const selection = getSelection();
    selection.removeAllRanges();
    selection.addRange(range);
    return;
  }
  throw new Error(`${words} are not there`);
}"""
SELECTED = "() => (chat.shadowRoot.getSelection ?? getSelection).call(chat.shadowRoot).toString()"
BLOCKS = {
    "paragraph": ("Some words are selected, and", [" more", " come **with", " weight** and `code", "` now"]),
    "list": (
        "- one\n- some words are selected",
        [" here", "\n- two", "\n- three\n", "\n- four", "\n  - five"],
    ),
    "nested list": ("- one\n  - some words are selected", [" here", "\n  - two", "\n- three **f", "our**"]),
    "quote": ("> some words are selected", [" here", "\n> and", " then *more", "* of it"]),
    "code": ("```\nsome words are selected", [" in\n", "  code\n", "that grows"]),
    "code in a list": ("- one\n\n  ```\n  some words are selected", [" in\n", "  code\n", "  that grows"]),
    "table": ("| a | b |\n|---|---|\n| some words are selected | 1 |", ["\n| 2", " | 3 |", "\n| 4 | 5 |"]),
    "long list": ("- some words are selected\n" + "- item\n" * 30, ["- more", " of it", "\n- the end"]),
    "long table": (
        "| a |\n|---|\n| some words are selected |\n" + "| row |\n" * 30,
        ["| mo", "re |\n", "| end"],
    ),
    "heading": ("## some words are selected", [" in", " a **head", "ing** here"]),
}


@pytest.mark.parametrize("block", BLOCKS)
def test_a_selection_in_the_block_that_grows_stays(growing: Growing, block: str) -> None:
    begin, pieces = BLOCKS[block]
    growing.grow(begin)
    growing.page.evaluate(SELECT, ["words are sel"])
    growing.page.evaluate("() => { window.node = range.startContainer }")
    for piece in pieces:
        growing.grow(piece)
        assert growing.page.evaluate(SELECTED) == "words are sel", piece
    growing.end()
    assert growing.page.evaluate(SELECTED) == "words are sel"
    assert growing.page.evaluate("() => node.isConnected && range.startContainer === node")


@pytest.mark.parametrize("text", ["- one\n- two\n\nEnd.\nMore.", "| a |\n|---|\n| 1 |\n| 2 |\n\nEnd.\nMore."])
def test_an_answer_that_loses_the_source_behind_a_list_or_table_is_drawn(user: User, text: str) -> None:
    growing = Growing(Given(user))
    source = {"type": "url", "url": "https://a.example", "title": "A"}
    behind = text.index("|---|") + 2 if "|" in text else text.index("- two") + 1  # no place for a mark
    growing.push(said("grows", text, [{"type": "annotation", "index": behind, "source": source}]))
    answer = growing.page.locator(".answer")
    expect(answer.locator(".cite")).to_have_count(1)
    growing.push({**said("grows", text), "type": "thread.item.replaced"})
    expect(answer.locator(".cite")).to_have_count(0)
    expect(answer.locator("li, tbody tr")).to_have_count(2)
    expect(answer.locator(".as-it-is")).to_have_count(0)
    growing.page.evaluate("stream.close()")
    user.wait_for_end()


def test_code_that_was_scrolled_sideways_stays_there_while_it_grows(growing: Growing) -> None:
    growing.grow("```python\nbegin = " + " + ".join(f"value_{number}" for number in range(60)))
    code = growing.page.locator(".answer pre")
    code.evaluate("node => { node.scrollLeft = 300 }")
    for number in range(5):
        growing.grow(f"\nline_{number} = {number}")
        assert code.evaluate("node => node.scrollLeft") == 300
    growing.grow("\n```\n\nBehind the code.")
    assert code.evaluate("node => node.scrollLeft") == 300


CARET = """() => {
  const all = [...chat.shadowRoot.querySelectorAll(".answer, .answer *")];
  return all.filter((one) => getComputedStyle(one, "::after").content === '""')
    .map((one) => [one.localName, one.textContent.trim()]);
}"""


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("Words", ["p", "Words"]),
        ("- one\n- two", ["p", "two"]),
        ("- one\n  1. two", ["p", "two"]),
        ("- one\n\n- two **three** four", ["p", "two three four"]),
        ("> - quoted", ["p", "quoted"]),
        ("| a | b |\n|---|---|\n| 1 | 2 |", ["td", "2"]),
        ("```\ncode", ["code", "code"]),
    ],
)
def test_the_caret_stands_behind_the_last_word(growing: Growing, text: str, end: list[str]) -> None:
    growing.grow(text)
    assert growing.page.evaluate(CARET) == [end]
