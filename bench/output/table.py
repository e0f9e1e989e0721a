"""The measures as a table of text."""

from __future__ import annotations

from collections.abc import Sequence

from bench.output.results import Measure

HEAD = ("measure", "value", "unit", "baseline", "ratio", "goal", "met", "p50", "p99", "spread", "note")
MAX_NOTE = 60


def table(measured: Sequence[Measure]) -> str:
    """One line a measure, the columns as wide as they need; `-` where there is nothing to say."""
    rows = [HEAD, *(_row(measure) for measure in measured)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(line.rstrip() for line in lines)


def number(value: float | None) -> str:
    """Four digits are enough to compare."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _row(measure: Measure) -> tuple[str, ...]:
    ratio = "-" if measure.ratio is None else f"{measure.ratio:.2f}x"
    met = {None: "-", True: "yes", False: "NO"}[measure.met]
    return (
        measure.measure,
        number(measure.value),
        measure.unit,
        number(measure.baseline),
        ratio,
        str(measure.goal) if measure.goal else "-",
        met,
        number(measure.p50),
        number(measure.p99),
        number(measure.spread),
        measure.note[:MAX_NOTE],
    )
