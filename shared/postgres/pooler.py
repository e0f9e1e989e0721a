"""Whether the sessions behind DATABASE_URL are the product's own: no pooler may give them to others between statements.

The product keeps state in its sessions: prepared statements, settings, the lock of a migration. A pooler in transaction
mode gives each transaction any session that is free, and with it another client's statements of the same names.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Final
from uuid import uuid4

Step = tuple[int, str]
"""A connection, by its place, and a statement for it."""

MARK: Final = "relaykit.session"
SWEEPS: Final = 4
READ: Final = f"SELECT current_setting('{MARK}', true)"
NO_SESSIONS: Final = (
    "DATABASE_URL: leads to a pooler that keeps no sessions (transaction mode): "
    "give it session mode, or the server's own address"
)


def keeps_sessions(count: int) -> Generator[Step, str | None, bool]:
    """The statements that find it out on `count` connections, two at least, and whether each had its session to itself.

    Yields a statement, and is sent the value that READ gave. Each connection marks its session and looks for its mark
    again, the last one first. What makes it sure: a pooler with fewer sessions than connections has overwritten a
    mark. One that gives out the session that was used last gives the second to look the session of the first; one that
    gives out the session that has rested longest gives the last connection the session of the first or one without a
    mark. Transactions that are open at the same time see to it that there are as many sessions as connections. Other
    clients of the pooler may hide it in one sweep, but hardly in all of them.
    """
    marks = [uuid4().hex for _ in range(count)]
    places = range(count)
    for place in places:
        yield place, f"SELECT set_config('{MARK}', '{marks[place]}', false)"
    for sweep in range(SWEEPS):
        for statement in ("BEGIN", "COMMIT") if sweep else ():
            for place in places:
                yield place, statement
        for place in reversed(places):
            if (yield place, READ) != marks[place]:
                return False
    return True
