"""`python -m bench.report`: writes what was measured last into the marked section of docs/performance.md.

So the page shows no figure but those that were measured.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from bench.measures import FAMILIES
from bench.output.record import ROOT, Record, Soak, family_of, read, read_soak
from bench.output.table import number

PAGE = ROOT / "docs" / "performance.md"
BEGIN = "<!-- figures: begin, written by `python -m bench.report` -->"
END = "<!-- figures: end -->"
TITLES = {"peers": "Beside Agno's queue mode"}
"""Of a family that does not stand under its name."""


def main() -> int:
    from bench.output import plots  # needs what only the benchmarks have installed

    record = read()
    if not record:
        print("bench: nothing was measured: `make bench` first", file=sys.stderr)
        return 2
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        print(f"bench: {PAGE.relative_to(ROOT)} has no section between the marks", file=sys.stderr)
        return 2
    shown = "\n".join([figures(record), *soak_figures(read_soak())])
    PAGE.write_text(f"{before}{BEGIN}\n\n{shown}\n{END}{after}")
    plots.draw_soak(read_soak())
    print(f"{PAGE.relative_to(ROOT)}: {len(record)} measures")
    return 0


def figures(record: Record) -> str:
    """The goals, then each family with its notes, as markdown."""
    parts = [_measured(record), _table([one for one in record if one["goal"]], "### Goals")]
    for name in FAMILIES:
        found = [one for one in record if family_of(one) == name]
        if found:
            parts += [_table(found, f"### {TITLES.get(name, name)}"), _notes(found)]
    return "\n".join(parts)


SOAK_COLUMNS = {
    "runs": "runs so far",
    "api_mb": "API, MB",
    "worker_mb": "worker, MB",
    "redis_mb": "Redis, MB",
    "redis_keys": "keys",
    "api_files": "files of the API",
    "worker_files": "of the worker",
    "p50_ms": "p50, ms",
    "p99_ms": "p99, ms",
}


def soak_figures(soak: Soak | None) -> Sequence[str]:
    """Every quarter of the soak, and what grew from its second quarter to its last; nothing where there was none."""
    if soak is None:
        return []
    minutes, growth = soak["minutes"], soak["growth"]
    step = max(1, len(minutes) // 4)
    shown = {1: minutes[0], **{number: minutes[number - 1] for number in range(step, len(minutes) + 1, step)}}
    rows = [
        [f"after {number}", *(_short(each[name]) for name in SOAK_COLUMNS)] for number, each in shown.items()
    ]
    rows.append(
        [
            "**last quarter to second**",
            *(f"{growth[name]:.2f}x" if name in growth else "-" for name in SOAK_COLUMNS),
        ]
    )
    lines = ["| " + " | ".join(row) + " |" for row in [["minutes", *SOAK_COLUMNS.values()], *rows]]
    lines.insert(1, "|---" * (len(SOAK_COLUMNS) + 1) + "|")
    return [
        "### The soak\n",
        f"Measured on {soak['measured_at'][:10]} with {soak['machine']}.\n",
        "\n".join(lines) + "\n",
        "![What the processes hold, minute by minute](images/soak.svg)\n",
    ]


def _short(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.1f}"


def _measured(record: Record) -> str:
    """When and on what; a quick run is called one."""
    lines = []
    for said in dict.fromkeys((one["measured_at"][:10], one["machine"], one["quick"]) for one in record):
        day, machine, quick = said
        line = f"Measured on {day} with {machine}."
        if quick:
            names = dict.fromkeys(family_of(one) for one in record if one["quick"])
            line += f" A quick run, which shows only that it works: {', '.join(names)}."
        lines.append(line + "\n")
    return "\n".join(lines)


def _table(found: Record, title: str) -> str:
    head = "| measure | ours | baseline | ratio | goal | met | p50 | p99 | spread |"
    return "\n".join([f"{title}\n", head, "|---" * 9 + "|", *map(_row, found), ""])


def _row(one: dict[str, Any]) -> str:
    against = f" ({one['against']})" if one["against"] else ""
    baseline = "-" if one["baseline"] is None else f"{number(one['baseline'])}{against}"
    cells = [
        f"`{one['measure']}`",
        f"{number(one['value'])} {one['unit']}",
        baseline,
        "-" if one["ratio"] is None else f"{one['ratio']:.2f}x",
        one["goal"] or "-",
        {None: "-", True: "yes", False: "**no**"}[one["met"]],
        *(number(one[name]) for name in ("p50", "p99", "spread")),
    ]
    return f"| {' | '.join(cells)} |"


def _notes(found: Record) -> str:
    return "\n".join([*(f"- `{one['measure']}`: {one['note']}" for one in found if one["note"]), ""])


if __name__ == "__main__":
    sys.exit(main())
