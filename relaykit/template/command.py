"""What `relaykit new` does."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Final

from relaykit.shared.version import VERSION

BAD_USAGE: Final = 2
FILES: Final = Path(__file__).parent / "files"
DOTTED: Final = frozenset({"dockerignore", "env", "gitignore"})
MAX_NAME_CHARS: Final = 60


def main(folder: str) -> int:
    """0 where the site stands in the folder; 2, and nothing is written, where the folder cannot take it."""
    target = Path(folder)
    try:
        name = target.resolve().name
        if problem := _problem(target, name):
            return _refused(problem)
        written = _write(target, name)
    except OSError as error:
        return _refused(f"{folder}: {error.strerror or type(error).__name__}")
    print(f"{target}: " + ", ".join(written))
    enter = "" if target.resolve() == Path.cwd() else f"cd {target} && "
    print(f"Next: {enter}relaykit dev")
    return 0


def _problem(target: Path, name: str) -> str | None:
    if target.exists() and not target.is_dir():
        return f"{target} is a file"
    if target.is_dir() and any(path.name not in (".venv", ".git") for path in target.iterdir()):
        return f"{target} is not empty"
    if not name.isprintable() or len(name) > MAX_NAME_CHARS or not _project_name(name):
        return f"{target} is no name for a site"
    return None


def _write(target: Path, name: str) -> list[str]:
    """The names of what was written, in the order of the alphabet."""
    words = {"{{title}}": name, "{{project}}": _project_name(name), "{{version}}": VERSION}
    written = []
    for source in sorted(FILES.rglob("*.in")):
        relative = source.relative_to(FILES).with_suffix("")
        if relative.name in DOTTED:
            relative = relative.with_name(f".{relative.name}")
        text = source.read_text(encoding="utf-8")
        for word, value in words.items():
            text = text.replace(word, value)
        path = target / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:  # nothing is written over
            file.write(text)
        written.append(str(relative))
    return sorted(written)


def _project_name(name: str) -> str:
    """As pyproject.toml takes one (PyPA, names and normalization)."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _refused(problem: str) -> int:
    print(f"relaykit new: {problem}", file=sys.stderr)
    return BAD_USAGE
