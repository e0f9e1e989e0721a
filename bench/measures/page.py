"""An answer that grows in `<relaykit-chat>`, in a real Chromium: frames, long tasks, the main thread's CPU.

500 deltas of 20 characters a second: many blocks, one list, one table, one code block, one paragraph. The element is
web/element/dist, as `make web` builds it, or the folder that ELEMENT names: so two builds are compared. Frames depend
on what else the machine does; the CPU of the main thread hardly does.
"""

from __future__ import annotations

import os
from pathlib import Path

from bench.measures import Scale
from bench.output.results import Goal, Measure, Of, percentile
from bench.page.answers import ANSWERS, answer
from bench.page.browser import Watched, chromium, watched
from bench.page.site import Site, site

BUILT = Path(__file__).resolve().parents[2] / "web" / "element" / "dist"
FRAMES = {"blocks": 55, "list": 50, "table": 50}
CPU_SECONDS = 5
LONGEST_MS = 50


def measure(scale: Scale) -> list[Measure]:
    folder = Path(os.environ.get("ELEMENT", BUILT))
    if not (folder / "relaykit-chat.js").is_file():
        raise LookupError(f"no element in {folder}: make web builds it")
    found: list[Measure] = []
    with site(folder) as served, chromium() as browser:
        for shape in ANSWERS:
            length = scale.of(10_000, 200_000 if shape == "blocks" else 100_000)
            served.text = answer(shape, length)
            found += _lines(shape, length, served, watched(browser, served))
    return found


def _lines(shape: str, length: int, served: Site, seen: Watched) -> list[Measure]:
    is_whole = shape == "blocks"
    frames = (
        f"{length // 1_000} kB at {served.per_second} deltas/s in {seen.wall:.1f} s; between two frames p50 "
        f"{percentile(seen.frames, 0.5):.0f}, p95 {percentile(seen.frames, 0.95):.0f}, at most "
        f"{max(seen.frames):.0f} ms"
    )
    return [
        Measure(
            measure=f"page.frames_{shape}",
            value=seen.frames_per_second,
            unit="frames/s",
            goal=Goal(Of.VALUE, at_least=FRAMES[shape]) if shape in FRAMES else None,
            note=frames,
        ),
        Measure(
            measure=f"page.longest_task_{shape}",
            value=seen.longest_task,
            unit="ms",
            goal=Goal(Of.VALUE, at_most=LONGEST_MS) if is_whole else None,
            note=f"{len(seen.long_tasks)} tasks over 50 ms; 0 where there is none",
        ),
        Measure(
            measure=f"page.cpu_{shape}",
            value=seen.cpu,
            unit="s",
            goal=Goal(Of.VALUE, at_most=CPU_SECONDS) if is_whole else None,
            note=f"of the main thread; script {seen.script:.1f}, layout and style {seen.layout:.1f}",
        ),
    ]
