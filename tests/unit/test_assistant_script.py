"""The scripted model chooses by what is asked, and its answers come in pieces that make up the whole."""

from __future__ import annotations

import time
from datetime import datetime
from itertools import pairwise

import pytest
from chatkit.types import (
    Annotation,
    AssistantMessageContent,
    AssistantMessageContentPartAnnotationAdded,
    AssistantMessageContentPartDone,
    AssistantMessageContentPartTextDelta,
    AssistantMessageItem,
    ThreadItemAddedEvent,
    ThreadItemDoneEvent,
    ThreadItemUpdatedEvent,
    URLSource,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from relaykit.examples.assistant.citations import Citations
from relaykit.examples.assistant.corpus import Section
from relaykit.examples.assistant.long_answer import PARAGRAPHS, long_answer, timed_answer, tokens
from relaykit.examples.assistant.parsed_prompt import parse_prompt
from relaykit.examples.assistant.script import Call, Say, Situation, reply_to

TOOLS = Situation(
    tools=(
        "search_docs",
        "show_checklist",
        "show_widget",
        "ask_user",
        "highlight",
        "open_page",
        "get_local_time",
    ),
    deltas_per_second=50,
)


def reply(text, situation=TOOLS):
    return reply_to(parse_prompt("", [{"type": "message", "role": "user", "content": text}]), situation)


@pytest.mark.parametrize(
    ("text", "tool"),
    [
        ("How is a run cancelled?", "search_docs"),
        ("what does the docs say about leases", "search_docs"),
        ("How long does a lease last?", "search_docs"),
        ("What is the time to live of a journal?", "search_docs"),
        ("What does error 410 mean?", "search_docs"),
        ("How do I open a thread?", "search_docs"),
        ("show me a widget", "show_checklist"),
        ("A CARD please", "show_checklist"),
        ("Give me a list", "show_widget"),
        ("draw a chart", "show_widget"),
        ("How do I show a list of threads?", "search_docs"),
        ("ask me something", "ask_user"),
        ("what time is it", "get_local_time"),
        ("highlight Welcome", "highlight"),
        ("open the next page", "open_page"),
    ],
)
def test_a_tool_is_chosen(text, tool):
    chosen = reply(text)
    assert isinstance(chosen, Call)
    assert chosen.tool == tool


@pytest.mark.parametrize(
    ("text", "beginning"),
    [
        ("hello", "Hello!"),
        ("", "Hello!"),
        ("What can you do?", "Hello!"),
        ("What do you remember?", "This is your first message"),
        ("a long answer please", "## The way of a message"),
        ("which page is this", "Your browser told me nothing"),
    ],
)
def test_an_answer_is_chosen(text, beginning):
    chosen = reply(text)
    assert isinstance(chosen, Say)
    assert chosen.text.startswith(beginning)


@pytest.mark.parametrize(
    "text", ["highlight " + "\"'" * 15_000 + "x", " " * 30_000 + "open", "call " * 6_000]
)
def test_a_hostile_question_is_answered_in_no_time(text):
    started = time.process_time()
    reply(text)
    assert time.process_time() - started < 0.5


def test_a_tool_that_is_not_there_is_not_called():
    assert isinstance(reply("what time is it", Situation(tools=(), deltas_per_second=50)), Say)


@pytest.mark.parametrize(
    ("text", "deltas"),
    [
        ("talk for 30 seconds", 1500),
        ("go on for 1 second", 50),
        ("a very long answer", 45 * 50),
        ("for 9999 seconds", 300 * 50),
        ("for 0 seconds", 1),
    ],
)
def test_an_answer_of_so_many_seconds_has_so_many_deltas(text, deltas):
    chosen = reply(text)
    assert isinstance(chosen, Say)
    assert len(tokens(chosen.text)) == deltas


@pytest.mark.parametrize("paragraphs", [1, len(PARAGRAPHS), 40])
def test_a_long_answer_has_so_many_paragraphs(paragraphs):
    text = long_answer(paragraphs)
    assert f"**{paragraphs}.**" in text
    assert f"**{paragraphs + 1}.**" not in text


def test_the_number_of_paragraphs_is_bounded():
    chosen = reply("a long answer of 99999999 paragraphs")
    assert isinstance(chosen, Say)
    assert "**200.**" in chosen.text
    assert "**201.**" not in chosen.text


@given(st.text())
def test_tokens_make_up_the_text(text):
    assert "".join(tokens(text)) == text


@given(st.integers(1, 5000))
def test_a_timed_answer_has_exactly_so_many_tokens(deltas):
    assert len(tokens(timed_answer(deltas))) == deltas


def event(update):
    return ThreadItemUpdatedEvent(item_id="m", update=update)


def delta(text):
    return event(AssistantMessageContentPartTextDelta(content_index=0, delta=text))


SECTION = Section(path="docs/a.md", title="A", anchor="a", text="x")


def cited(text, cuts):
    """What is shown of the text in these pieces, the places of its annotations, and what is kept of it."""
    edges = [0, *sorted(cuts), len(text)]
    citations = Citations([SECTION])
    content = AssistantMessageContent(text=text, annotations=[])
    done = event(AssistantMessageContentPartDone(content_index=0, content=content))
    given_events = [*(delta(text[start:end]) for start, end in pairwise(edges)), done]
    *events, last = [out for each in given_events for out in citations.apply(each)]
    added = [e.update for e in events if isinstance(e.update, AssistantMessageContentPartAnnotationAdded)]
    assert [update.annotation_index for update in added] == list(range(len(added)))
    deltas = [e.update.delta for e in events if isinstance(e.update, AssistantMessageContentPartTextDelta)]
    kept = last.update.content
    assert [each.index for each in kept.annotations] == [update.annotation.index for update in added]
    return "".join(deltas), [each.index for each in kept.annotations], kept.text


@pytest.mark.parametrize("cuts", [(), (4,), (5,), (6,), (1, 2, 3, 4, 5, 6, 7)])
def test_a_mark_is_found_wherever_the_deltas_are_cut(cuts):
    assert cited("See [1] and [2].", cuts) == ("See and [2].", [3], "See and [2].")


PIECES = st.sampled_from(
    ["[1]", " [1]", "[2]", "xs", "(https://a.example)", ":", " ", "\n", "`", "```", "]", "[", "ü"]
)
TEXTS_WITH_CUTS = (
    st.lists(PIECES, max_size=12)
    .map("".join)
    .flatmap(lambda text: st.tuples(st.just(text), st.sets(st.integers(0, len(text)))))
)


@settings(deadline=None)
@given(TEXTS_WITH_CUTS)
def test_what_is_shown_and_kept_of_a_text_does_not_depend_on_the_cuts(given_text):
    text, cuts = given_text
    shown, places, kept = cited(text, cuts)
    assert (shown, places, kept) == cited(text, ())
    assert shown == kept


NO_MARKS = [
    "xs[1]",
    "f(x)[1] = rows[0][1]",
    "[1](https://a.example)",
    "[a page][1]",
    "[1]: https://a.example",
    "`xs = [1]`",
    "``a ` [1] b``",
    "```py\nreturn [1]\n`[1]`\n```",
    "~~~\n[1]\n~~~",
]


@pytest.mark.parametrize("text", NO_MARKS)
def test_what_only_looks_like_a_mark_stays_wherever_it_is_cut(text):
    for at in range(len(text) + 1):
        assert cited(text, (at,)) == (text, [], text)


@pytest.mark.parametrize(
    ("text", "shown", "places"),
    [
        ("Two [1][1].", "Two.", [3, 3]),
        ("`code` [1]", "`code`", [6]),
        ("a ` [1]\nb [1]", "a ` [1]\nb", [9]),
        ("```\n[1]\n```\n[1]", "```\n[1]\n```\n", [12]),
        ("He said.[1]: so", "He said.: so", [8]),
    ],
)
def test_a_mark_beside_what_only_looks_like_one_is_taken_out(text, shown, places):
    for at in range(len(text) + 1):
        assert cited(text, (at,)) == (shown, places, shown)


def test_an_annotation_of_the_models_own_moves_with_the_text_without_marks():
    citations = Citations([SECTION])
    list(citations.apply(delta("See [1] and more")))
    own = Annotation(source=URLSource(title="W", url="https://w.example"), index=len("See [1] and"))
    own_added = AssistantMessageContentPartAnnotationAdded(
        content_index=0, annotation_index=0, annotation=own
    )
    [added] = citations.apply(event(own_added))
    assert added.update.annotation.index == len("See and")


def test_the_models_own_annotations_are_kept_and_numbered_with_ours():
    own = Annotation(source=URLSource(title="W", url="https://w.example"), index=3)
    citations = Citations([SECTION])
    list(citations.apply(delta("See [1]")))
    own_added = AssistantMessageContentPartAnnotationAdded(
        content_index=0, annotation_index=0, annotation=own
    )
    [_, second] = citations.apply(event(own_added))
    assert second.update.annotation_index == 1
    content = AssistantMessageContent(text="See [1]", annotations=[])
    [done] = citations.apply(event(AssistantMessageContentPartDone(content_index=0, content=content)))
    assert [annotation.source.title for annotation in done.update.content.annotations] == ["A", "W"]


def test_the_marks_of_a_second_message_of_the_same_id_are_its_own():
    """Some models name every message of a turn alike."""
    citations = Citations([SECTION])
    message = AssistantMessageItem(
        id="m", thread_id="t", created_at=datetime.now(), content=[AssistantMessageContent(text="")]
    )
    for _ in range(2):
        list(citations.apply(ThreadItemAddedEvent(item=message)))
        [_, _, added] = [*citations.apply(delta("See [1]")), *citations.apply(delta(" now"))]
        assert (added.update.annotation_index, added.update.annotation.index) == (0, 3)
        [done] = citations.apply(ThreadItemDoneEvent(item=message))
        assert len(done.item.content[0].annotations) == 1
