"""The figure in docs/architecture.md is that of the table of transitions."""

from __future__ import annotations

from relaykit.shared.runs.run import TRANSITIONS
from tests.support.repository.run_states import PAGE, REASONS, figure, with_figure


def test_each_transition_has_its_reason_and_no_other_has() -> None:
    assert set(REASONS) == {(source, target) for source, targets in TRANSITIONS.items() for target in targets}


def test_the_figure_has_an_arrow_for_each_transition() -> None:
    of_admission, *trees = figure().split("\n\n")
    sources = [source for source, targets in TRANSITIONS.items() if targets]
    for tree, source in zip(trees, sources, strict=True):
        assert tree.startswith(source.value)
        assert {line.split("─► ")[1].split()[0] for line in tree.splitlines()} == TRANSITIONS[source]
    assert of_admission.count("─►") == 2


def test_the_documentation_shows_it() -> None:
    page = PAGE.read_text()
    assert page == with_figure(page), "run: python -m tests.support.repository.run_states"
