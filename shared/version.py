"""The version of this release, as it calls itself to others; a test compares it with pyproject.toml."""

from __future__ import annotations

from typing import Final

VERSION: Final = "0.1.0"
