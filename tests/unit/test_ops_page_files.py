"""The files of the console's page: nothing that its policy forbids, and nothing that reads a text as HTML."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from relaykit.api.routes.ops_page import PAGE_DIRECTORY

FILES = sorted(file for file in PAGE_DIRECTORY.iterdir() if file.suffix in (".js", ".html", ".css"))
HTML_FROM_TEXT = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|createContextualFragment|DOMParser|setHTML"
    r"|\beval\b|new Function|setTimeout\(['\"`]|javascript:"
)
ELSEWHERE = re.compile(r"https?://|[\"'(]//")
SVG_NAMESPACE = "http://www.w3.org/2000/svg"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_it_makes_no_html_of_a_text_and_loads_nothing_from_elsewhere(file: Path) -> None:
    text = file.read_text()
    assert not HTML_FROM_TEXT.search(text)
    assert not ELSEWHERE.search(text.replace(SVG_NAMESPACE, ""))


def test_the_page_has_no_script_and_no_style_in_it() -> None:
    text = (PAGE_DIRECTORY / "index.html").read_text()
    assert re.findall(r"<script[^>]*>", text) == ['<script type="module" src="ops/ops.js">']
    assert "<style" not in text
    assert not re.search(r"\s(style|on[a-z]+)=", text)


def test_every_module_that_is_imported_is_there_and_every_file_is_used() -> None:
    used = {
        "index.html",
        *re.findall(r'(?:src|href)="ops/([^"]+)"', (PAGE_DIRECTORY / "index.html").read_text()),
    }
    for file in FILES:
        used |= set(re.findall(r'from "\./([^"]+)"', file.read_text()))
    assert used == {file.name for file in PAGE_DIRECTORY.iterdir()}


def test_addresses_are_relative_so_that_a_proxy_may_put_the_console_below_a_path() -> None:
    for file in FILES:
        assert not re.search(r"""["'`](?:/ops|/dev)""", file.read_text()), file.name
