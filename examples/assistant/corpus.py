"""A small body of documentation, split at its headings and searched by BM25."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

MAX_FILES = 200
MAX_FILE_BYTES = 512 * 1024
TERM_SATURATION = 1.2
LENGTH_WEIGHT = 0.75
HEADING_WEIGHT = 3
"""A term in the heading counts as this many in the text."""
_COMMONEST = (
    "a about an and are as at be by can do does doc document documentation for from get how i in is it me my "
    "of on or please say tell that the their there this to use using want was what when where which who why "
    "will with you your"
)
STOP_WORDS = frozenset(_COMMONEST.split())

_FENCE = re.compile(r"^\s*(```|~~~)")
_BEGINS_LINE = re.compile(r"\s*(?:[-*+>|#]|\d+[.)]\s)")
_HEADING = re.compile(r"^(#{1,6})\s+(.+?)\s*#*\s*$")
_TERM = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Section:
    """The text below one heading, up to the next."""

    path: str
    """Of its file, below the docs' root, with slashes."""
    title: str
    """The headings that lead to it, outermost first."""
    anchor: str
    text: str

    @property
    def id(self) -> str:
        return f"{self.path}#{self.anchor}"


class Corpus:
    """Sections and their terms; the same query always finds the same sections in the same order."""

    def __init__(self, sections: Iterable[Section]) -> None:
        self.sections: Sequence[Section] = tuple(sections)
        self._by_source: dict[str, list[Section]] = {}
        for section in self.sections:
            for source in {section.id, section.path}:
                self._by_source.setdefault(source, []).append(section)
        self._terms = [_section_terms(section) for section in self.sections]
        self._lengths = [sum(terms.values()) for terms in self._terms]
        self._mean_length = sum(self._lengths) / len(self._lengths) if self._lengths else 0.0
        self._found_in = Counter(term for terms in self._terms for term in terms)

    @property
    def pages(self) -> dict[str, str]:
        """The titles of the files, by their paths."""
        found: dict[str, str] = {}
        for section in self.sections:
            found.setdefault(section.path, section.title.partition(" / ")[0])
        return found

    def sections_of(self, source: str) -> Sequence[Section]:
        """A section, by its id, or all of a file, by its path; none where there is no such."""
        return self._by_source.get(source, [])

    @classmethod
    def read(cls, root: Path) -> Corpus:
        """README.md and docs/**/*.md below `root`; empty where there are none."""
        return cls(section for path in _files(root) for section in split(_text(path), _relative(path, root)))

    def search(self, query: str, limit: int = 3) -> list[Section]:
        terms = [term for term in dict.fromkeys(terms_of(query)) if term in self._found_in]
        scored = [(self._score(index, terms), index) for index in range(len(self.sections))]
        best = sorted((-score, index) for score, index in scored if score > 0)
        return [self.sections[index] for _, index in best[:limit]]

    def _score(self, index: int, terms: Iterable[str]) -> float:
        counts = self._terms[index]
        norm = TERM_SATURATION * (
            1 - LENGTH_WEIGHT + LENGTH_WEIGHT * self._lengths[index] / self._mean_length
        )
        return sum(
            self._rarity(term) * counts[term] * (TERM_SATURATION + 1) / (counts[term] + norm)
            for term in terms
            if counts[term]
        )

    def _rarity(self, term: str) -> float:
        found_in = self._found_in[term]
        return math.log(1 + (len(self.sections) - found_in + 0.5) / (found_in + 0.5))


def terms_of(text: str) -> list[str]:
    """Lower-case words without the commonest ones; a plural s is dropped."""
    words = (word.lower() for word in _TERM.findall(text))
    return [
        word.removesuffix("s") if len(word) > 3 and not word.endswith("ss") else word
        for word in words
        if word not in STOP_WORDS
    ]


def excerpt(section: Section, query: str, limit: int = 600) -> str:
    """The paragraph of the section that holds most of the query's terms, at most `limit` characters."""
    wanted = set(terms_of(query))
    paragraphs = [part.strip() for part in re.split(r"\n\s*\n", section.text) if part.strip()]
    best = max(paragraphs, key=lambda part: len(wanted & set(terms_of(part))), default="")
    best = unwrapped(best)
    return best if len(best) <= limit else f"{best[:limit].rsplit(' ', 1)[0]} …"


def unwrapped(paragraph: str) -> str:
    """The paragraph without the line breaks of a source that wraps its lines; code, tables and new lines of a list keep
    theirs."""
    if _FENCE.match(paragraph):
        return paragraph
    lines: list[str] = []
    for line in paragraph.splitlines():
        if lines and not _BEGINS_LINE.match(line):
            lines[-1] = f"{lines[-1]} {line.strip()}"
        else:
            lines.append(line)
    return "\n".join(lines)


def split(text: str, path: str) -> Iterator[Section]:
    """The sections of a Markdown file that hold any text; a # inside a code fence is no heading."""
    headings: list[tuple[int, str]] = []
    lines: list[str] = []
    fence: str | None = None
    for line in text.splitlines():
        mark = _FENCE.match(line)
        if mark and fence in {None, mark[1]}:
            fence = None if fence else mark[1]
        heading = None if fence or mark else _HEADING.match(line)
        if heading is None:
            lines.append(line)
            continue
        yield from _section(path, headings, lines)
        level = len(heading[1])
        headings = [*((depth, title) for depth, title in headings if depth < level), (level, heading[2])]
        lines = []
    yield from _section(path, headings, lines)


def _section(path: str, headings: list[tuple[int, str]], lines: list[str]) -> Iterator[Section]:
    text = "\n".join(lines).strip()
    if text:
        titles = [title for _, title in headings] or [path]
        yield Section(path, " / ".join(titles), _anchor(titles[-1]), text)


def _anchor(title: str) -> str:
    return re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-")


def _section_terms(section: Section) -> Counter[str]:
    counts = Counter(terms_of(section.text))
    for term in terms_of(section.title):
        counts[term] += HEADING_WEIGHT
    return counts


def _files(root: Path) -> list[Path]:
    found = [*root.glob("README.md"), *(root / "docs").rglob("*.md")]
    small = (path for path in found if path.is_file() and path.stat().st_size <= MAX_FILE_BYTES)
    return sorted(small)[:MAX_FILES]


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()
