"""The shell blocks of a page: the commands that a reader is told to type."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

SHELL = "sh"
_FENCE = re.compile(r"^```(\S*)$")
_MARK = re.compile(r"^<!-- not executed: (.+) -->$")


@dataclass(frozen=True)
class Block:
    line: int
    """Of its fence."""
    language: str
    text: str
    not_executed: str | None
    """The beginning of the command that the page marks so, in the line before the fence."""


def blocks(page: str) -> Iterator[Block]:
    """The fenced blocks of a page, of any language."""
    lines = page.splitlines()
    begun: int | None = None
    for number, line in enumerate(lines):
        fence = _FENCE.match(line)
        if fence is None:
            continue
        if begun is None:
            begun, language = number, fence[1]
            continue
        mark = _MARK.match(lines[begun - 1]) if begun else None
        yield Block(begun + 1, language, "\n".join(lines[begun + 1 : number]), mark[1] if mark else None)
        begun = None


def commands(text: str) -> Iterator[str]:
    """One after the other, as bash would read them: a command may have several lines."""
    command = ""
    for line in text.splitlines():
        command = f"{command}\n{line}" if command else line
        if not command.strip():
            command = ""
        elif subprocess.run(["bash", "-n", "-c", command], capture_output=True, check=False).returncode == 0:
            yield command
            command = ""
    if command:
        raise ValueError(f"bash cannot read: {command}")
