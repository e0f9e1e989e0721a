"""The docs are split at their headings, and the same query finds the same sections."""

from __future__ import annotations

from pathlib import Path

import pytest

from relaykit.examples.assistant.corpus import MAX_FILE_BYTES, Corpus, excerpt, split, terms_of

TEXT = """Before any heading.

# Protocol

Intro.

## The end of a run

The last entry says `completed`.

```sh
# not a heading
make run
```

## Errors ##

### 410 Gone

The journal is gone.

# Other

Cursors and cursors.
"""


@pytest.fixture
def sections():
    return list(split(TEXT, "docs/p.md"))


def test_sections_know_their_headings_and_anchors(sections):
    assert [(section.title, section.id) for section in sections] == [
        ("docs/p.md", "docs/p.md#docspmd"),
        ("Protocol", "docs/p.md#protocol"),
        ("Protocol / The end of a run", "docs/p.md#the-end-of-a-run"),
        ("Protocol / Errors / 410 Gone", "docs/p.md#410-gone"),
        ("Other", "docs/p.md#other"),
    ]
    assert "# not a heading" in sections[2].text


def test_the_best_section_comes_first(sections):
    corpus = Corpus(sections)
    best, *_ = corpus.search("How does a run end?")
    assert best.title == "Protocol / The end of a run"
    assert [section.title for section in corpus.search("cursor")] == ["Other"]
    assert [section.title for section in corpus.search("gone", limit=1)] == ["Protocol / Errors / 410 Gone"]


@pytest.mark.parametrize("query", ["", "the of a", "zebra", "?!", "🦓"])
def test_a_query_without_a_known_word_finds_nothing(sections, query):
    assert Corpus(sections).search(query) == []


def test_searching_nothing_finds_nothing(tmp_path):
    assert Corpus([]).search("run") == []
    assert Corpus.read(tmp_path / "nowhere").sections == ()


def test_equal_scores_keep_the_order_of_the_files(tmp_path):
    (tmp_path / "docs" / "deep").mkdir(parents=True)
    for name in ("docs/b.md", "docs/a.md", "docs/deep/c.md", "README.md"):
        (tmp_path / name).write_text("# Same\n\nSame words.\n")
    (tmp_path / "docs" / "other.txt").write_text("# Same\n\nSame words.\n")
    (tmp_path / "docs" / "huge.md").write_text("# Same\n\n" + "words " * (MAX_FILE_BYTES // 6 + 1))
    found = Corpus.read(tmp_path).search("same words", limit=10)
    assert [section.path for section in found] == ["README.md", "docs/a.md", "docs/b.md", "docs/deep/c.md"]


def test_an_excerpt_is_the_paragraph_that_fits_best_and_is_bounded(sections):
    assert excerpt(sections[2], "how does it start with make").startswith("```sh")
    long = split("# A\n\n" + "word " * 1000, "a.md")
    assert len(excerpt(next(iter(long)), "word", 100)) <= 102


def test_an_excerpt_has_no_line_breaks_of_its_source():
    wrapped = "# A\n\nOne sentence that\ngoes on.\n\n- a point\n  that goes on\n- another word"
    section = next(iter(split(wrapped, "a.md")))
    assert excerpt(section, "sentence") == "One sentence that goes on."
    assert excerpt(section, "another point word") == "- a point that goes on\n- another word"


def test_terms_are_lower_case_words_that_mean_something():
    assert terms_of("How do I use the Cursors of a Class-less run_id?") == [
        "cursor",
        "class",
        "less",
        "run_id",
    ]


def test_the_docs_of_this_checkout_can_be_read():
    root = Path(__file__).resolve().parents[2]
    corpus = Corpus.read(root)
    assert all(section.text for section in corpus.sections)
    assert corpus.search("cursor") == Corpus.read(root).search("cursor")
