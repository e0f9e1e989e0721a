"""The fair order's text in Lua, which stands in front of each script that uses the order, on either side."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from relaykit.shared.redis import keys

_FOLDER = Path(__file__).parent

FAIR: Final = _FOLDER / "fair.lua"
"""How jobs enter and leave the order, and how claims and losses are noted beside it."""

PLACES: Final = _FOLDER / "places.lua"
"""How requests hold places in the order before they have jobs. It uses FAIR, and stands behind it."""

FAIR_TTL_MS: Final = keys.FAIR_TTL_SECONDS * 1000
"""The last argument of each such script."""

HOLDERS: Final = "holders"
"""Behind the prefix of the order: the hash of the processes that hold the claimed runs."""
