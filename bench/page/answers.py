"""The answers that the page is shown: each is Markdown of one shape."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count

SENTENCE = (
    "a run is claimed by one worker and its events are appended to the journal before the API relays them"
)
WORDS = SENTENCE.split()

SECTION = """## Section {number}

The worker of **run {number}** appends its events to the `journal`, and a client that [comes back](https://example.org/)
reads on from its *cursor*; nothing is lost, and nothing comes twice.

- the first of three, with `code`
- the second, with **weight**
- the third

```python
def step_{number}(run):
    return run.id
```

| state | count |
|---|---:|
| queued | {number} |
| running | 7 |

"""


def _sentence(number: int) -> str:
    return " ".join(WORDS[(number + at) % len(WORDS)] for at in range(12))


def _blocks() -> Iterator[str]:
    return (SECTION.format(number=number) for number in count(1))


def _list() -> Iterator[str]:
    return (f"- **Item {number}**: {_sentence(number)}, `{number}`\n" for number in count(1))


def _table() -> Iterator[str]:
    yield "| number | what | state |\n|---:|---|---|\n"
    yield from (f"| {number} | {_sentence(number)} | **done** |\n" for number in count(1))


def _code() -> Iterator[str]:
    yield "```python\n"
    yield from (f"value_{number} = compute({number})  # {_sentence(number)}\n" for number in count(1))


def _paragraph() -> Iterator[str]:
    return (f"{_sentence(number).capitalize()}. " for number in count(1))


ANSWERS: dict[str, Callable[[], Iterator[str]]] = {
    "blocks": _blocks,
    "list": _list,
    "table": _table,
    "code": _code,
    "paragraph": _paragraph,
}


def answer(shape: str, length: int) -> str:
    """The Markdown of one shape, this many characters of it."""
    text, parts = "", ANSWERS[shape]()
    while len(text) < length:
        text += next(parts)
    return text[:length]
