"""Code with its language, its colours and Copy; formulas; both by files that come from the page's own origin."""

from __future__ import annotations

import gzip
import re

import pytest
from playwright.sync_api import Route, expect

from tests.e2e.page.test_element import Given
from tests.e2e.page.test_growing_answers import Growing
from tests.e2e.page.test_hostile_items import answer_with, said
from tests.e2e.page.user import SHADOW, User
from tests.support.system import ROOT

pytestmark = pytest.mark.browser

PYTHON = 'def double(number):\n    return 2 * number  # "twice"'
CODE = f"```python\n{PYTHON}\n```"
MAX_KILOBYTES = 130


@pytest.fixture
def given(user: User) -> Given:
    return Given(user)


def test_the_element_is_small_before_code_or_formulas_are_needed() -> None:
    file = ROOT / "web" / "demo" / "relaykit-chat.js"
    assert len(gzip.compress(file.read_bytes(), 9)) <= MAX_KILOBYTES * 1_000


def test_nothing_is_loaded_for_an_answer_without_code_or_formulas(given: Given) -> None:
    asked: list[str] = []
    given.page.on("request", lambda request: asked.append(request.url))

    def loaded() -> list[str]:
        return [file for url in asked for file in re.findall(r"relaykit-chat-[\w-]+\.js", url)]

    answer_with(given, [said("plain", "It costs $5 and `code` is `$x$`.\n\n```\nno language\n```")])
    expect(given.last).to_contain_text("no language")
    assert loaded() == []
    answer_with(given, [said("code", CODE)])
    expect(given.page.locator(".hljs-keyword").first).to_be_visible()
    assert set(loaded()) == {"relaykit-chat-code.js", "relaykit-chat-rolldown-runtime.js"}


def test_code_has_its_language_its_colours_and_copy_by_keyboard(given: Given) -> None:
    answer_with(
        given, [said("code", f"Look:\n\n{CODE}\n\nIn a list:\n\n- item\n\n  ```js\n  let a = 1;\n  ```")]
    )
    frames = given.page.locator(".answer .code")
    expect(frames.locator(".code-head span")).to_have_text(["python", "js"])
    expect(frames.nth(0).locator(".hljs-keyword")).to_have_text(["def", "return"])
    expect(frames.nth(1).locator(".hljs-keyword")).to_have_text(["let"])
    assert frames.nth(0).locator("code").text_content() == PYTHON
    copy = frames.nth(0).get_by_role("button", name="Copy the code")
    copy.focus()
    given.page.keyboard.press("Enter")
    expect(given.page.locator(".toast", has_text="Copied")).to_be_visible()
    expect(given.page.locator("#live")).to_have_text("Copied")
    assert given.page.evaluate("navigator.clipboard.readText()") == PYTHON
    given.assert_accessible()


def test_nothing_that_is_pressed_is_printed(given: Given) -> None:
    given.options("{}")
    given.user.ask("show notice")
    answer_with(given, [said("code", f"Look:\n\n{CODE}")])
    page = given.page
    pressed = [page.locator(name).first for name in (".message-tools", ".answer-tools", ".code-head button")]
    for each in pressed:
        expect(each).to_be_visible()
    page.emulate_media(media="print")
    for each in pressed:
        expect(each).to_be_hidden()
    expect(page.locator(".code-head")).to_be_visible()


FADED = """(dark) => {
  const parse = (color) => color.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((part) => part / 255)
    .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
    .reduce((sum, part, at) => sum + part * [0.2126, 0.7152, 0.0722][at], 0);
  const root = chat.shadowRoot;
  const under = light(parse(getComputedStyle(root.querySelector(".code")).backgroundColor));
  return [...root.querySelectorAll(".code span")].map((one) => {
    const over = light(parse(getComputedStyle(one).color));
    return [one.className, (Math.max(over, under) + 0.05) / (Math.min(over, under) + 0.05)];
  }).filter(([, contrast]) => contrast < 4.5);
}"""
LANGUAGES = """```typescript
/** @param a one */
class A<T> extends B { private x: number = 1.5; async f() { return `a ${this.x} b`.replace(/x/g, null); } }
```

```diff
- gone
+ come
@@ -1 +1 @@
```

```css
.a > #b:hover { color: var(--x, #fff) !important; }
```

```xml
<a b="c">&amp;</a>
```

```bash
FOO=1 make "$BAR" # note
```
"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_each_colour_of_code_can_be_read(given: Given, theme: str) -> None:
    answer_with(given, [said("code", LANGUAGES)])
    given.page.evaluate("theme => give({theme, history: {enabled: false}})", theme)
    expect(given.page.locator(".hljs-addition")).to_have_count(1)
    expect(given.page.locator(".hljs-meta").first).to_be_visible()
    assert given.page.evaluate(FADED) == []


def test_code_in_a_language_that_is_not_known_is_shown_as_it_is(given: Given) -> None:
    answer_with(
        given, [said("code", "```klingon\nqapla' <b>\n```\n\n" + CODE), said("last", "Behind all of it.")]
    )
    expect(given.page.locator(".hljs-keyword").first).to_be_visible()
    unknown = given.page.locator(".answer .code").first
    expect(unknown.locator(".code-head span")).to_have_text("klingon")
    assert unknown.locator("code").inner_html() == "qapla' &lt;b&gt;"
    expect(given.last).to_have_text("Behind all of it.")


def test_code_gets_its_colours_while_it_grows_and_a_selection_in_it_stays(user: User) -> None:
    growing = Growing(Given(user))
    growing.grow("```python\ndef one():\n    return 1")
    expect(growing.page.locator(".hljs-keyword")).to_have_text(["def", "return"])
    code = growing.page.locator(".answer code")
    code.evaluate(
        """(code) => {
          const range = new Range();
          range.setStart(code, 0);
          range.setEndAfter(code.lastChild);
          getSelection().removeAllRanges();
          getSelection().addRange(range);
        }"""
    )
    growing.grow("\n\ndef two():\n    return 2")
    expect(growing.page.locator(".hljs-keyword")).to_have_text(["def", "return", "def", "return"])
    selected = growing.page.evaluate("() => chat.shadowRoot.getSelection().toString()")
    assert selected == "def one():\n    return 1"
    growing.end()


FORMULAS = r"""Inline $a^2$ and \(b_1\), prices $5 and $6.

$$
\sum_{i=1}^n i = \frac{n(n+1)}{2}
$$

Where
\[ x \]"""


def test_formulas_are_drawn_and_prices_are_not(given: Given) -> None:
    answer_with(given, [said("formulas", FORMULAS)])
    drawn = given.page.locator(".answer .formula math")
    expect(drawn).to_have_count(4)
    expect(given.page.locator(".answer .formula.block math")).to_have_count(2)
    expect(given.page.locator(".answer p").first).to_contain_text("prices $5 and $6.")
    expect(given.page.locator(".answer msup").first).to_be_visible()
    given.assert_accessible()


def test_formulas_that_do_not_parse_are_shown_as_they_are_and_the_thread_goes_on(given: Given) -> None:
    bad = ["$\\frac{1}{$", "$\\unknown{x}$", "$}{$", f"${'{' * 1_500}x$", "$\\href{javascript:alert(1)}{x}$"]
    answer_with(
        given, [said("bad", "\n\n".join(bad)), said("good", "And $x$."), said("last", "Behind all of it.")]
    )
    expect(given.page.locator(".answer .formula math").last).to_be_visible()
    shown = given.page.locator(".answer").first.locator(".formula").all_text_contents()
    assert shown[:4] == bad[:4]
    assert given.page.locator(".answer a").count() == 0
    expect(given.last).to_have_text("Behind all of it.")
    assert given.told("error") == []


def test_a_formula_is_drawn_once_it_is_whole(user: User) -> None:
    growing = Growing(Given(user))
    growing.grow("The square is $a^")
    expect(growing.page.locator(".answer")).to_have_text("The square is $a^")
    growing.push(
        {
            "type": "thread.item.updated",
            "item_id": "grows",
            "update": {
                "type": "assistant_message.content_part.text_delta",
                "content_index": 0,
                "delta": "2$ here",
            },
        }
    )
    growing.text += "2$ here"
    expect(growing.page.locator(".answer math")).to_have_count(1)
    growing.page.evaluate(f"() => {{ window.drawn = {SHADOW}.querySelector('.answer math') }}")
    growing.grow(" and more words")
    assert growing.page.evaluate("() => window.drawn.isConnected")
    growing.end()


def test_a_site_that_serves_one_file_alone_shows_both_as_they_are_written(given: Given) -> None:
    given.user.allowed_errors += ["404", "Failed to fetch dynamically imported module"]
    refused: list[str] = []

    def refuse(route: Route) -> None:
        refused.append(route.request.url)
        route.fulfill(status=404)

    given.page.route("**/relaykit-chat-*.js", refuse)
    answer_with(given, [said("both", f"{CODE}\n\nIt is $a^2$."), said("last", "Behind all of it.")])
    given.page.wait_for_function(
        "() => told.filter(([name, one]) => name === 'log' && one.name.endsWith('not_loaded')).length === 2"
    )
    assert given.page.locator(".answer code").first.text_content() == PYTHON
    expect(given.page.locator(".answer .formula")).to_have_text("$a^2$")
    expect(given.last).to_have_text("Behind all of it.")
    assert len(refused) == 2
    assert given.told("error") == []


def test_a_screen_reader_hears_the_words_of_an_answer(given: Given) -> None:
    answer_with(given, [said("spoken", "[Open the room](chatkit-link://open) **now**:\n\n- `one`\n- $x^2$")])
    expect(given.page.locator("#live")).to_have_text("Assistant: Open the room now: one x^2")


def test_no_line_ends_between_a_word_and_its_citation(given: Given) -> None:
    source = {"type": "url", "url": "https://a.example", "title": "A"}
    text = "word " * 3 + "cited and more of it"
    answer_with(given, [said("cited", text, [{"type": "annotation", "index": 20, "source": source}])])
    expect(given.page.locator(".answer .cite")).to_have_count(1)
    apart = """() => {
      const answer = chat.shadowRoot.querySelector(".answer");
      const widths = [];
      for (let width = 80; width < 260; width += 1) {
        answer.style.width = `${width}px`;
        const word = new Range();
        const letter = answer.querySelector(".cite").previousSibling;
        word.selectNodeContents(letter);
        const [one, other] = [word, answer.querySelector(".cite a")].map((part) => part.getBoundingClientRect());
        if (other.top > one.bottom || other.left < one.right - 1) widths.push(width);
      }
      return widths;
    }"""
    assert given.page.evaluate(apart) == []
