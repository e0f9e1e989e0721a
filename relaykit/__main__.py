"""`python -m relaykit` is the command `relaykit`."""

from __future__ import annotations

from relaykit.cli import entry_point

if __name__ == "__main__":
    entry_point()
