"""`python -m tests.siege.attacker`: one attack, ordered on stdin, its tally on stdout. It ends by itself.

It runs at the lowest priority, because an attacker has machines of its own: what is measured is what its bytes cost the
server, and not what its CPU costs the machine that both of them run on.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NoReturn

from tests.siege import connection_attacks, request_attacks, upload_attacks
from tests.siege.assault import Assault
from tests.siege.order import Order

NICENESS = 19
GRACE_SECONDS = 8
"""For an attack to end after its time; then the process ends with what it has."""

ACTS: Final[dict[str, Callable[[Assault], None]]] = {
    "head-lines": connection_attacks.head_lines,
    "head-value": connection_attacks.head_value,
    "head-url": connection_attacks.head_url,
    "trailers": connection_attacks.trailers,
    "trailer-token": connection_attacks.trailer_token,
    "silent": connection_attacks.silent,
    "descriptors": connection_attacks.descriptors,
    "pipelining": connection_attacks.pipelining,
    "refused": request_attacks.refused,
    "slow-bodies": request_attacks.slow_bodies,
    "pages": request_attacks.pages,
    "unread": request_attacks.unread,
    "cancelled": request_attacks.cancelled,
    "flood": request_attacks.flood,
    "mentions": upload_attacks.mentions,
    "announced": upload_attacks.announced,
    "puts": upload_attacks.puts,
}


def main() -> int:
    os.nice(NICENESS)
    order = Order.parse(sys.stdin.read())
    assault = Assault(order)

    def end(*_: object) -> NoReturn:
        print(assault.tally, flush=True)
        os._exit(0)

    signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, order.seconds + GRACE_SECONDS)
    with suppress(OSError):
        ACTS[order.name](assault)
    end()


if __name__ == "__main__":
    sys.exit(main())
