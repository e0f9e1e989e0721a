"""`python -m bench`: measures, prints the table, writes bench/results/latest.json and draws the plots.

QUICK=1 measures just enough to see that it works. ONLY=latency,relay measures some families and keeps what
latest.json holds of the others. PEERS=1 measures systems of the same kind as well, in an environment of their own.
"""

from __future__ import annotations

import os
import sys
import time
from datetime import UTC, datetime

from bench import machine, plots, record
from bench.measures import FAMILIES, Scale, family
from bench.results import Measure
from bench.table import table


def main() -> int:
    scale = Scale(quick=os.environ.get("QUICK", "") not in ("", "0"))
    names = _names(os.environ.get("ONLY", ""))
    if os.environ.get("PEERS", "") not in ("", "0"):
        names.append("peers")
    try:
        families = [(name, family(name)) for name in names]
    except LookupError as error:
        print(f"bench: {error.args[0]}", file=sys.stderr)
        return 2
    measured: list[Measure] = []
    for name, measure in families:
        started_at = time.monotonic()
        found = measure(scale)
        print(f"{name}: {time.monotonic() - started_at:.0f} s", flush=True)
        print(table(found), flush=True)
        measured += found
    now = datetime.now(UTC)
    record.write(measured, families=names, quick=scale.quick, measured_at=now, machine=machine.describe())
    drawn = plots.draw(record.read())
    print(f"{record.LATEST.relative_to(record.ROOT)}; {len(drawn)} plots in {plots.IMAGES.relative_to(record.ROOT)}")
    return 0


def _names(only: str) -> list[str]:
    """The families asked for, in the order of FAMILIES; all of them where none is."""
    asked = [name.strip() for name in only.split(",") if name.strip()]
    unknown = [name for name in asked if name not in FAMILIES]
    return [name for name in FAMILIES if name in asked or not asked] + unknown


if __name__ == "__main__":
    sys.exit(main())
