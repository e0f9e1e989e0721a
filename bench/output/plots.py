"""The plots of docs/performance.md, from what was measured last."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot, ticker  # after the choice of what draws

from bench.output.record import ROOT, Record, Soak

IMAGES = ROOT / "docs" / "images"
BETTER, WORSE = "#1f5fbf", "#d9822b"
COLOURS = {"relaykit": BETTER, "in-process": WORSE, "a blocked XREAD a client": "#7a7a7a"}
MAX_P99 = 20.0
MORE_IS_BETTER = ("events/s", "deltas/s", "runs")
mpl.rcParams.update(
    {"svg.hashsalt": "relaykit", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
)


def draw(record: Record) -> list[Path]:
    """The plots for which there are measures: the files written."""
    drawn = [_ratios(record), _latency(record), _relay(record)]
    return [path for path in drawn if path is not None]


def draw_soak(soak: Soak | None) -> Path | None:
    """What the processes hold, minute by minute; None where there was no soak."""
    if soak is None:
        return None
    numbers = range(1, len(soak["minutes"]) + 1)
    held = {"API": "api_mb", "worker": "worker_mb", "Redis": "redis_mb"}
    with _saved("soak", 1, (6, 3)) as (path, [axes]):
        for name, field in held.items():
            axes.plot(numbers, [minute[field] for minute in soak["minutes"]], label=name)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("minutes")
        axes.set_ylabel("MB")
        axes.legend(frameon=False)
    return path


def _ratios(record: Record) -> Path | None:
    """Each measure that has a baseline as a bar: ours divided by the baseline."""
    compared = [one for one in reversed(record) if one["ratio"] is not None]
    if not compared:
        return None
    with _saved("ratios", 1, (9, 1 + 0.3 * len(compared))) as (path, [axes]):
        names, beyond = [one["measure"] for one in compared], [one["ratio"] - 1 for one in compared]
        axes.barh(names, beyond, left=1, color=[BETTER if _is_better(one) else WORSE for one in compared])
        axes.axvline(1, color="black", linewidth=0.8)
        axes.set_xscale("log")
        _plain(axes.xaxis)
        axes.set_xlabel("ours / baseline; blue is better, orange is not")
    return path


def _is_better(one: dict[str, Any]) -> bool:
    """More of what is delivered or held is better, less of all else."""
    return bool(one["ratio"] > 1 if one["unit"] in MORE_IS_BETTER else one["ratio"] < 1)


def _plain(axis: Any) -> None:
    """Numbers as people write them, where a logarithmic axis would have powers."""
    axis.set_major_formatter(ticker.StrMethodFormatter("{x:,g}"))
    axis.set_minor_formatter(ticker.NullFormatter())
    axis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))


def _latency(record: Record) -> Path | None:
    """Medians as bars, the 99th percentile as a mark above."""
    points = [p for one in record if one["measure"].startswith("latency.first_event") for p in one["points"]]
    if not points:
        return None
    with _saved("latency", 1, (6, 3.5)) as (path, [axes]):
        posters = sorted({point["posters"] for point in points})
        for shift, system in ((-0.2, "relaykit"), (0.2, "in-process")):
            own = sorted((p for p in points if p["system"] == system), key=lambda point: point["posters"])
            places = [posters.index(point["posters"]) + shift for point in own]
            axes.bar(places, [p["p50"] for p in own], 0.38, color=COLOURS[system], label=f"{system}, p50")
            axes.plot(places, [p["p99"] for p in own], "_", color="black", markersize=16)
        axes.set_xticks(range(len(posters)), [f"{number} at once" for number in posters])
        axes.set_yscale("log")
        _plain(axes.yaxis)
        axes.set_ylabel("POST to first event, ms (line: p99)")
        axes.legend()
    return path


def _relay(record: Record) -> Path | None:
    """Events delivered against how late they are, a picture for each number of clients."""
    curves = [one["points"] for one in record if one["measure"].startswith("relay.held") and one["points"]]
    if not curves:
        return None
    with _saved("relay", len(curves), (3.6 * len(curves) + 1, 3.5)) as (path, all_axes):
        for axes, points in zip(all_axes, curves, strict=True):
            for system, colour in COLOURS.items():
                own = sorted((p for p in points if p["system"] == system), key=lambda point: point["offered"])
                axes.plot(
                    [p["delivered"] for p in own], [p["p99"] for p in own], "o-", color=colour, label=system
                )
            axes.axhline(MAX_P99, color="black", linewidth=0.8, linestyle=":")
            axes.set_xscale("log")
            axes.set_yscale("log")
            _plain(axes.xaxis)
            _plain(axes.yaxis)
            axes.set_title(f"{points[0]['clients']:,} clients")
            axes.set_xlabel("events/s delivered")
        all_axes[0].set_ylabel("p99, ms")
        all_axes[0].legend(fontsize=7)
    return path


@contextmanager
def _saved(name: str, columns: int, inches: tuple[float, float]) -> Iterator[tuple[Path, list[Any]]]:
    """A figure of that many pictures beside each other, written at the end of the block."""
    IMAGES.mkdir(exist_ok=True)
    path = IMAGES / f"{name}.svg"
    figure, grid = pyplot.subplots(1, columns, figsize=inches, squeeze=False)
    yield path, list(grid[0])
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
