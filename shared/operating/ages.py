"""Ages as an operator writes them. Imports nothing, because the help of a command needs it."""

from __future__ import annotations

import re
from typing import Final

MAX_DAYS: Final = 36_500
_AGE = re.compile(r"([0-9]{1,9})([smhd])", re.ASCII)
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def age_seconds(text: str) -> float:
    """`90s`, `15m`, `24h` or `7d`, in seconds. Raises ValueError for anything else, and beyond MAX_DAYS."""
    found = _AGE.fullmatch(text)
    if found is None or int(found[1]) * _SECONDS[found[2]] > MAX_DAYS * 86_400:
        raise ValueError("is no age such as 90s, 15m, 24h or 7d")
    return float(int(found[1]) * _SECONDS[found[2]])
