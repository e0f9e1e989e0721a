"""What the texts on an operator's command line may be."""

from __future__ import annotations

import argparse
import re
from typing import Final

from relaykit.shared.operating.actor_names import BY_CONSOLE
from relaykit.shared.operating.ages import age_seconds

MAX_LIMIT: Final = 10_000


def text(value: str) -> str:
    """A text that a row may hold."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError("is not UTF-8") from None
    if not value or "\x00" in value:
        raise argparse.ArgumentTypeError("is empty")
    return value


def actor_name(value: str) -> str:
    """The name that an operator acts by; not one that the console has verified."""
    if text(value).rstrip().endswith(BY_CONSOLE.strip()):
        raise argparse.ArgumentTypeError(f"ends with{BY_CONSOLE}, as the console's own names do")
    return value


def age(value: str) -> float:
    """`90s`, `15m`, `24h` or `7d`, in seconds."""
    try:
        return age_seconds(value)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{value!r} {error}") from None


def limit(value: str) -> int:
    """A whole number from 1 to MAX_LIMIT."""
    if not re.fullmatch(r"[0-9]{1,9}", value, re.ASCII) or not 1 <= int(value) <= MAX_LIMIT:
        raise argparse.ArgumentTypeError(f"{value!r} is no number from 1 to {MAX_LIMIT}")
    return int(value)
