"""How long a journal is kept after what was written last: the same, whoever has written it."""

from __future__ import annotations

import pytest

from relaykit.shared.journal import Batch, Field, JournalTtl
from relaykit.shared.redis.keys import UNBEGUN_JOURNAL_TTL_SECONDS

TTL = JournalTtl(unfinished_seconds=86_400, ended_seconds=3_600)
BRIEF = JournalTtl(unfinished_seconds=86_400, ended_seconds=UNBEGUN_JOURNAL_TTL_SECONDS / 2)
EVENT, END = (Field.EVENT, b"{}"), (Field.END, b"cancelled")


@pytest.mark.parametrize(
    ("attempt", "entries", "expected", "brief"),
    [
        (0, [EVENT], 86_400, 86_400),
        (2, [EVENT, EVENT], 86_400, 86_400),
        (2, [EVENT, END], 3_600, UNBEGUN_JOURNAL_TTL_SECONDS / 2),
        (2, [END], 3_600, UNBEGUN_JOURNAL_TTL_SECONDS / 2),
        (0, [END], UNBEGUN_JOURNAL_TTL_SECONDS, UNBEGUN_JOURNAL_TTL_SECONDS / 2),
    ],
)
def test_the_end_shortens_it_most_of_all_that_of_a_run_that_never_began(
    attempt: int, entries: list[tuple[Field, bytes]], expected: float, brief: float
) -> None:
    batch = Batch(run_id="run_1", attempt=attempt, first_seq=1, entries=entries)
    assert (TTL.after(batch), BRIEF.after(batch)) == (expected, brief)
