"""The types of files: what the server takes a file for, the element takes it for too."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from relaykit.shared.attachments import media_types
from relaykit.shared.attachments.media_types import (
    MISTAKEN,
    OF_ENDING,
    OTHER_NAMES,
    TEXT_ENDINGS,
    UNKNOWN,
    allowed_type,
    may_be,
    possible_types,
)

SOURCE = (Path(__file__).parents[2] / "web/element/src/composer/attachments/file_type.ts").read_text()


def of_element(name: str) -> str:
    found = re.search(rf"const {name}\b[^=]*= (?:new Set\()?[{{\[](.*?)[}}\]]\)?;", SOURCE, re.DOTALL)
    assert found, name
    return found[1]


def words(text: str) -> list[str]:
    return re.findall(r'"([^"]*)"', text)


@pytest.mark.parametrize(("name", "table"), [("OTHER_NAMES", OTHER_NAMES), ("OF_ENDING", OF_ENDING)])
def test_the_element_has_the_same_table(name: str, table: Mapping[str, str]) -> None:
    assert dict(re.findall(r'"?([\w/.+-]+)"?: "([^"]+)",', of_element(name))) == table


def test_the_element_has_the_same_lists() -> None:
    assert set(words(of_element("UNKNOWN"))) == UNKNOWN
    assert set(words(of_element("TEXT_ENDINGS"))) == TEXT_ENDINGS
    mistaken = re.findall(r"(\w+): \[(.*?)\]", of_element("MISTAKEN"), re.DOTALL)
    assert {ending: frozenset(words(types)) for ending, types in mistaken} == MISTAKEN


def test_an_ending_gives_no_type_that_a_browser_would_run() -> None:
    active = {
        "text/html",
        "application/xhtml+xml",
        "image/svg+xml",
        "text/javascript",
        "application/javascript",
    }
    assert not active & {*OF_ENDING.values(), *OTHER_NAMES.values()}


def test_every_other_name_and_every_mistake_has_its_type() -> None:
    assert not set(OTHER_NAMES) & set(OTHER_NAMES.values())
    assert MISTAKEN.keys() | TEXT_ENDINGS <= OF_ENDING.keys()


@pytest.mark.parametrize("ending", OF_ENDING)
@pytest.mark.parametrize("declared", sorted(UNKNOWN))
def test_an_absent_type_is_that_of_the_ending(ending: str, declared: str) -> None:
    assert possible_types(f"a.{ending.upper()} ", declared)[0] == OF_ENDING[ending]


@pytest.mark.parametrize(
    "ending",
    [
        "heic",
        "heif",
        "avif",
        "bmp",
        "tif",
        "tiff",
        "mp4",
        "mov",
        "ogg",
        "doc",
        "xls",
        "ppt",
        "rtf",
        "ics",
        "odt",
        "ods",
        "odp",
        "epub",
        "py",
    ],
)
def test_a_file_without_a_type_is_allowed_by_its_ending(ending: str) -> None:
    assert allowed_type(f"a.{ending}", "", {OF_ENDING[ending]}) == OF_ENDING[ending]


@pytest.mark.parametrize(
    ("name", "declared", "meant"),
    [
        ("data.csv", "application/x-msexcel", "text/csv"),
        ("data.csv", OF_ENDING["xlsx"], "text/csv"),
        ("scan.bmp", "image/x-ms-bmp", "image/bmp"),
        ("conf.yaml", "application/x-yaml", "application/yaml"),
        ("letter.rtf", "text/rtf", "application/rtf"),
        ("old.xls", "application/x-msexcel", "application/vnd.ms-excel"),
        ("talk.ogg", "video/ogg", "audio/ogg"),
        ("notes.odt", "application/zip", "application/vnd.oasis.opendocument.text"),
        ("main.py", "text/plain", "text/x-python"),
        ("letter.docx", "application/msword", OF_ENDING["docx"]),
        ("talk.pptx", "application/vnd.ms-powerpoint", OF_ENDING["pptx"]),
        ("letter.docx", "application/wps-office.docx", OF_ENDING["docx"]),
        ("data.csv", "application/wps-office.xlsx", "text/csv"),
        ("old.doc", "application/wps-office.doc", "application/msword"),
        ("talk.pptx", "application/vnd.ms-office", OF_ENDING["pptx"]),
        ("old.xls", "application/vnd.ms-office", "application/vnd.ms-excel"),
    ],
)
def test_a_wrong_name_of_a_type_is_the_allowed_one(name: str, declared: str, meant: str) -> None:
    assert allowed_type(name, declared, {meant}) == meant
    assert may_be(meant, name, declared)


def test_the_module_says_where_its_twin_is() -> None:
    assert "web/element/src/composer/attachments/file_type.ts" in (media_types.__doc__ or "")
    assert "shared/attachments/media_types.py" in SOURCE
