"""`python -m bench`: measures, prints the table, writes bench/results/latest.json and draws the plots.

QUICK=1 measures just enough to see that it works. ONLY=latency,relay measures some families and keeps what
latest.json holds of the others. PEERS=1 measures the family `peers` as well, which needs an environment of its own. A
family that fails is told and takes nothing from the others.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from datetime import UTC, datetime

from bench.measures import PEERS, Family, Scale, asked, family
from bench.output import plots, record
from bench.output.table import table
from bench.peers.agno_replicas import check_installed
from bench.systems import machine


def main() -> int:
    scale = Scale(quick=_is_set("QUICK"))
    names = asked(os.environ.get("ONLY", ""), peers=_is_set("PEERS"))
    try:
        families = [(name, family(name)) for name in names]
        if PEERS in names:
            check_installed()
    except LookupError as error:
        print(f"bench: {error.args[0]}", file=sys.stderr)
        return 2
    machine.allow_many_files()
    failed = [name for name, measure in families if not _measured(name, measure, scale)]
    drawn = plots.draw(record.read())
    where = record.LATEST.relative_to(record.ROOT)
    print(f"{where}; {len(drawn)} plots in {plots.IMAGES.relative_to(record.ROOT)}")
    if failed:
        print(f"bench: failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _measured(name: str, measure: Family, scale: Scale) -> bool:
    """Whether the family could be measured; what it found is kept at once."""
    started_at = time.monotonic()
    try:
        found = measure(scale)
    except Exception:  # the others are measured all the same
        print(f"{name}: failed", flush=True)
        traceback.print_exc()
        return False
    print(f"{name}: {time.monotonic() - started_at:.0f} s\n{table(found)}\n", flush=True)
    now = datetime.now(UTC)
    record.write(found, families=[name], quick=scale.quick, measured_at=now, machine=machine.describe())
    return True


def _is_set(name: str) -> bool:
    return os.environ.get(name, "") not in ("", "0")


if __name__ == "__main__":
    sys.exit(main())
