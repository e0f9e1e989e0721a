"""The figure of a run's states in docs/architecture.md, from the one table of transitions.

`python -m tests.support.repository.run_states` writes it anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from relaykit.shared.runs.run import TRANSITIONS, Status
from tests.support.repository.documents import ROOT

PAGE = ROOT / "docs" / "architecture.md"
BEGIN = "<!-- The figure: python -m tests.support.repository.run_states -->\n```\n"
END = "```\n"

ADMISSION: Mapping[Status, str] = {
    Status.WAITING: "its thread has an active run, or awaits the output of a client tool call",
    Status.QUEUED: "neither",
}
"""What admission makes, and when."""

STOPPED = "stopped by its user, by THREAD_POLICY=interrupt, or with its thread"

REASONS: Mapping[tuple[Status, Status], str] = {
    (Status.WAITING, Status.QUEUED): "the run before it has ended: it is promoted",
    (Status.WAITING, Status.FAILED): "allowed; nothing does it",
    (Status.WAITING, Status.CANCELLED): STOPPED,
    (Status.QUEUED, Status.RUNNING): "a worker has claimed it: the next attempt begins",
    (Status.QUEUED, Status.FAILED): "allowed; nothing does it",
    (Status.QUEUED, Status.CANCELLED): STOPPED,
    (Status.RUNNING, Status.QUEUED): "its worker drains: it is handed back, and the attempt does not count",
    (Status.RUNNING, Status.RUNNING): "its worker was lost: another one begins the next attempt",
    (Status.RUNNING, Status.COMPLETED): "the server's events have come to their end",
    (Status.RUNNING, Status.FAILED): "an error, a time-out, or no attempt is left",
    (Status.RUNNING, Status.CANCELLED): "the same, or no client has followed it for ABANDON_SECONDS",
}
"""Why a run goes from one state to another."""


def figure() -> str:
    """One tree for admission and for each state that a run leaves, its branches in the order of the states."""
    trees = [list(_tree("admission", list(ADMISSION.items())))]
    trees += [
        list(_tree(source, [(target, REASONS[source, target]) for target in Status if target in targets]))
        for source, targets in TRANSITIONS.items()
        if targets
    ]
    return "\n\n".join("\n".join(tree) for tree in trees) + "\n"


def _tree(source: str, branches: Sequence[tuple[str, str]]) -> Iterator[str]:
    width = max(map(len, Status))
    for index, (target, reason) in enumerate(branches):
        is_last = index == len(branches) - 1
        fork = ("└" if is_last else "├") if index else ("─" if is_last else "┬")
        stem = f"{source} ".ljust(width + 2, "─") if index == 0 else " " * (width + 2)
        yield f"{stem}{fork}─► {target.ljust(width)}  {reason}"


def with_figure(page: str) -> str:
    """The page with the figure of today. Raises ValueError where it has no place for it."""
    before, found, rest = page.partition(BEGIN)
    _, closed, after = rest.partition(END)
    if not found or not closed:
        raise ValueError(f"{PAGE} has no figure after {BEGIN!r}")
    return f"{before}{BEGIN}{figure()}{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(with_figure(PAGE.read_text()))
