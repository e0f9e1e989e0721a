"""Journals as the product writes them, for the property tests: attempts in order, each seq from 1 without holes."""

from __future__ import annotations

from chatkit.types import ClientEffectEvent, NoticeEvent, ProgressUpdateEvent
from hypothesis import strategies as st

from relaykit.shared.journal import Cursor, Entry, Field
from relaykit.shared.runs.run import ENDED

TEXT = st.text(max_size=20)

EVENTS = st.one_of(
    st.builds(ProgressUpdateEvent, text=TEXT),
    st.builds(NoticeEvent, level=st.just("info"), message=TEXT),
    st.builds(ClientEffectEvent, name=TEXT, data=st.dictionaries(TEXT, TEXT, max_size=2)),
)
PAYLOADS = EVENTS.map(lambda event: event.model_dump_json(exclude_none=True).encode())

SHAPES = st.lists(st.tuples(st.integers(1, 3), st.integers(1, 6)), min_size=1, max_size=4)
"""For each attempt: how far its number is above the one before, and how many entries it wrote."""
ENDS = st.sampled_from([None, *sorted(ENDED)])


@st.composite
def journals(draw: st.DrawFn) -> list[Entry]:
    """Admission's entries, then those of some attempts, each begun by its start; perhaps the end.

    An attempt that wrote nothing leaves its number out. Payloads are unlike each other, and of unlike lengths.
    """
    entries: list[Entry] = []
    attempt = 0
    for number, (step, count) in enumerate(draw(SHAPES)):
        attempt += step if number else 0
        for seq in range(1, count + 1):
            if attempt and seq == 1:
                entries.append(Entry(Cursor(attempt, seq), Field.ATTEMPT_START, b""))
            else:
                payload = b'{"n":"%d-%d%s"}' % (attempt, seq, b"." * (17 * len(entries) % 40))
                entries.append(Entry(Cursor(attempt, seq), Field.EVENT, payload))
    status = draw(ENDS)
    if status is not None:
        last = entries[-1].cursor
        entries.append(Entry(Cursor(last.attempt, last.seq + 1), Field.END, status.value.encode()))
    return entries
