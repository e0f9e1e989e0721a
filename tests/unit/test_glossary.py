"""docs/glossary.md: each word once, in order, beside a module that exists."""

from __future__ import annotations

from collections import Counter

from tests.support.repository.documents import ROOT, paths, rows

GLOSSARY = (ROOT / "docs" / "glossary.md").read_text()
TABLE = list(rows(GLOSSARY))
WORDS = [word for word, _, _ in TABLE]


def test_a_word_has_one_meaning() -> None:
    assert [word for word, count in Counter(WORDS).items() if count > 1] == []


def test_the_words_of_a_section_are_in_order() -> None:
    sections = [[word for word, _, _ in rows(section)] for section in GLOSSARY.split("\n## ")[1:]]
    assert sections == [sorted(section) for section in sections]
    assert sum(map(len, sections)) == len(WORDS) > 0


def test_each_word_has_a_sentence_and_one_module() -> None:
    assert [word for word, meaning, _ in TABLE if not meaning.endswith(".")] == []
    assert [word for word, _, home in TABLE if len(paths(home)) != 1] == []
