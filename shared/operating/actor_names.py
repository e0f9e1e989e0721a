"""The names of operators in the audit. It imports nothing, because the command line's help needs it at once."""

from typing import Final

BY_CONSOLE: Final = " (console)"
"""Behind the names of callers that the console has verified; no other name may end so."""
