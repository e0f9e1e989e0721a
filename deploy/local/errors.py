"""What ends local mode."""

from __future__ import annotations


class LocalModeError(Exception):
    """Local mode cannot start or go on; the text is for the person who started it."""


class Stopped(Exception):
    """Somebody asked to stop while something was starting."""
