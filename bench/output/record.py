"""What was measured last: bench/results/latest.json, a list of measures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from bench.measures import FAMILIES
from bench.output.results import Measure

ROOT = Path(__file__).resolve().parents[2]
LATEST = ROOT / "bench" / "results" / "latest.json"
SOAK = ROOT / "bench" / "results" / "soak.json"

Record = list[dict[str, Any]]
"""Each as `Measure.as_json` gives it, with when it was measured, on what, and whether quickly."""


def write(
    measured: Sequence[Measure], *, families: Sequence[str], quick: bool, measured_at: datetime, machine: str
) -> None:
    """Replaces what is there of these families, and keeps the others, all in the order of FAMILIES."""
    kept = [one for one in read() if family_of(one) not in families]
    said = {"measured_at": measured_at.isoformat(timespec="seconds"), "quick": quick, "machine": machine}
    found = [*kept, *({**measure.as_json(), **said} for measure in measured)]
    found.sort(key=lambda one: FAMILIES.index(family_of(one)))
    LATEST.parent.mkdir(exist_ok=True)
    LATEST.write_text(json.dumps(found, indent=1) + "\n")


def read() -> Record:
    """Empty where nothing was measured yet; what no family measures any more is left out."""
    found: Record = json.loads(LATEST.read_text()) if LATEST.exists() else []
    return [one for one in found if family_of(one) in FAMILIES]


Soak = dict[str, Any]
"""When and on what, the minutes, and what grew: as `bench.soak` wrote it last."""


def read_soak() -> Soak | None:
    """None where there was no soak yet."""
    found: Soak | None = json.loads(SOAK.read_text()) if SOAK.exists() else None
    return found


def family_of(one: dict[str, Any]) -> str:
    return str(one["measure"]).partition(".")[0]
