"""`make chaos`: one long run. Exits with 1 on any loss.

CHAOS_SECONDS, CHATS and SEED in the environment say how long, how many and which; FAULTS picks some: those whose
names begin with one of its words, which commas divide.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
from pathlib import Path
from random import SystemRandom

from tests.chaos.driver import Plan, chaos
from tests.chaos.faults import FAULTS
from tests.chaos.report import lines, loss_lines


def main() -> int:
    names = os.environ.get("FAULTS", "").split(",")
    given = Plan(
        seed=int(os.environ.get("SEED") or SystemRandom().randrange(1_000_000)),
        seconds=float(os.environ.get("CHAOS_SECONDS") or 120),
        chats=int(os.environ.get("CHATS") or 30),
        faults=tuple(fault for fault in FAULTS if fault.name.startswith(tuple(names))),
    )
    print(f"SEED={given.seed} CHAOS_SECONDS={given.seconds:g} CHATS={given.chats}", flush=True)
    logs = Path(tempfile.mkdtemp(prefix="relaykit-chaos-logs-"))
    outcome = asyncio.run(chaos(given, logs))
    print("\n".join(lines(outcome, [fault.name for fault in given.faults])))
    if outcome.losses:
        print("\n".join(["", *loss_lines(outcome), "", f"The logs are in {logs}."]))
        return 1
    shutil.rmtree(logs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
