"""`make siege`: every attack, each alone and then all at once. Exits with 1 where one costs more than it may.

SIEGE_SECONDS in the environment says how long each attack lasts, SEED in which order they come; ONLY picks some: those
whose names begin with one of its words, which commas divide.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
from pathlib import Path
from random import SystemRandom

from relaykit.shared.postgres.migrate import migrate
from tests.siege.attack import AT_ONCE, ATTACKS
from tests.siege.driver import Plan, siege
from tests.siege.report import heading
from tests.support.services.databases import temporary_services

SECONDS = 6.0


def main() -> int:
    names = tuple(os.environ.get("ONLY", "").split(","))
    attacks = tuple(attack for attack in ATTACKS if attack.name.startswith(names))
    given = Plan(
        seed=int(os.environ.get("SEED") or SystemRandom().randrange(1_000_000)),
        seconds=float(os.environ.get("SIEGE_SECONDS") or SECONDS),
        alone=attacks,
        at_once=ATTACKS if AT_ONCE.startswith(names) else (),
    )
    print(f"SEED={given.seed} SIEGE_SECONDS={given.seconds:g}\n{heading()}", flush=True)
    logs = Path(tempfile.mkdtemp(prefix="relaykit-siege-logs-"))
    with temporary_services({}) as services:
        migrate(services.database_url)
        outcome = asyncio.run(
            siege(
                given, logs, services.redis_url, services.database_url, lambda line: print(line, flush=True)
            )
        )
    failed = [name for name, why in outcome.failed.items() if why]
    passed = len(outcome.failed) - len(failed)
    print(f"\n{passed} passed, {len(failed)} failed{': ' if failed else ''}{', '.join(failed)}")
    if failed:
        print(f"The logs are in {logs}.")
        return 1
    shutil.rmtree(logs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
