"""Whether a site has a package by the name of this one. Local mode asks too, so nothing of the SDK is imported."""

from __future__ import annotations

from pathlib import Path

SHADOWED = "{folder} holds a package relaykit, which is the name of Relaykit's own: rename it"


def is_shadowed(folder: Path) -> bool:
    """Whether the folder of a site's modules has one by the name of this package, which would stand for it."""
    package = folder / "relaykit"
    if (package / "__init__.py").is_file():
        return not package.samefile(Path(__file__).parents[2])
    return (folder / "relaykit.py").is_file()
