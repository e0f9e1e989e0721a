"""Which cell a suspect goes to: apart from those that it was lost with, and in the end alone."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from relaykit.worker.leases.claims import Loss
from relaykit.worker.quarantine.assignment import choose_cell, choose_empty, is_confined

LIMITS = [1, 2, 3, 4, 8]


def once(company: int, process: str = "worker") -> Loss:
    return Loss(company, 1, process)


def twice(company: int, process: str = "cell") -> Loss:
    return Loss(company, 2, process)


BLAMED = Loss(1, 1, "")


def placed(losses: list[Loss], limit: int, cells: list[list[Loss]] | None = None) -> list[list[Loss]]:
    """The cells after as many as can be have been placed."""
    cells = cells or []
    for loss in losses:
        index = choose_cell(cells, limit, loss)
        if index is None:
            continue
        if index == len(cells):
            cells.append([])
        cells[index].append(loss)
    assert len(cells) <= limit
    return cells


def test_a_group_no_larger_than_the_number_of_cells_is_parted_into_single_runs():
    assert [len(runs) for runs in placed([once(4)] * 4, 4)] == [1] * 4


def test_a_larger_group_is_parted_evenly_and_none_of_it_waits():
    assert [len(runs) for runs in placed([once(202)] * 202, 4)] == [51, 51, 50, 50]


def test_runs_of_different_losses_share_cells_so_that_none_waits_for_another():
    """A host with ten workers was lost."""
    losses = [once(3, f"worker {number}") for number in range(10) for _ in range(3)]
    cells = placed(losses, 4)
    assert sum(map(len, cells)) == 30
    assert all(len({loss.process for loss in runs}) == len(runs) for runs in cells)


def test_a_run_that_is_blamed_or_was_lost_alone_twice_has_a_cell_to_itself():
    for loss in (BLAMED, twice(1)):
        cells = placed([once(1, "other"), loss, once(1, "another"), loss], 4)
        assert [runs for runs in cells if loss in runs] == [[loss], [loss]]


def test_runs_that_were_lost_twice_share_with_their_group_alone_and_leave_a_cell_to_others():
    cells = placed([twice(12)] * 12 + [twice(5, "other")] * 5, 4)
    assert [[loss.process for loss in runs] for runs in cells] == [["cell"] * 4] * 3
    assert placed([once(2)], 4, cells)[3] == [once(2)]


@pytest.mark.parametrize("limit", LIMITS)
def test_what_was_lost_once_never_waits_where_there_are_several_cells(limit):
    cells = placed([BLAMED] * 10, limit)
    assert choose_cell(cells, limit, once(7)) is not None or limit == 1


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("size", [2, 5, 21, 100])
def test_whoever_of_a_group_kills_its_process_is_alone_in_the_end_and_the_others_have_ended(limit, size):
    """Each cell with the one dies; in each other all end. In whatever order they come."""
    for seed in range(20):
        order = random.Random(seed)
        waiting = [(number, once(size)) for number in range(size)]
        attempts = dict.fromkeys(range(size), 1)
        deaths = 0
        while waiting:
            order.shuffle(waiting)
            cells: list[list[Loss]] = []
            inside: list[list[tuple[int, Loss]]] = []
            left = []
            for number, loss in waiting:
                index = choose_cell(cells, limit, loss)
                if index is None:
                    left.append((number, loss))
                    continue
                if index == len(cells):
                    cells.append([])
                    inside.append([])
                cells[index].append(loss)
                inside[index].append((number, loss))
            assert inside, "nothing goes on"
            for index, runs in enumerate(inside):
                for number, _ in runs:
                    attempts[number] += 1
                if any(number == 0 for number, _ in runs):
                    deaths += 1
                    if len(runs) == 1:
                        continue
                    left += [
                        (
                            number,
                            replace(
                                loss, company=len(runs), times=loss.times + 1, process=f"{deaths}{index}"
                            ),
                        )
                        for number, loss in runs
                    ]
            waiting = left
        assert max(attempts.values()) <= 2 + size.bit_length() + 1


def test_what_was_lost_once_is_not_confined():
    assert [is_confined(loss) for loss in (once(1), once(9), twice(9), BLAMED)] == [False, False, True, True]


def test_where_runs_are_isolated_each_has_a_cell_to_itself() -> None:
    """An empty one before a new one, up to the limit."""
    assert choose_empty([], 2) == 0
    assert choose_empty([[once(3)]], 2) == 1
    assert choose_empty([[once(3)], []], 2) == 1
    assert choose_empty([[once(3)], [BLAMED]], 2) is None
    assert choose_empty([[once(3)], [BLAMED], []], 2) is None  # a third that is about to end
