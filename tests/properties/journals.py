"""Journals as the product writes them, for the property tests: attempts in order, each seq from 1 without holes."""

from __future__ import annotations

from hypothesis import strategies as st

from chatkit.types import ClientEffectEvent, NoticeEvent, ProgressUpdateEvent
from shared.journal import Cursor, Entry, Field
from shared.runs import ENDED

TEXT = st.text(max_size=20)

EVENTS = st.one_of(
    st.builds(ProgressUpdateEvent, text=TEXT),
    st.builds(NoticeEvent, level=st.just("info"), message=TEXT),
    st.builds(ClientEffectEvent, name=TEXT, data=st.dictionaries(TEXT, TEXT, max_size=2)),
)
PAYLOADS = EVENTS.map(lambda event: event.model_dump_json(exclude_none=True).encode())


@st.composite
def journals(draw: st.DrawFn, *, max_attempts: int = 4, max_entries: int = 6) -> list[Entry]:
    """Admission's entries, then those of some attempts, each begun by a mark; perhaps the end."""
    numbers = sorted(draw(st.sets(st.integers(1, 6), max_size=max_attempts - 1)))
    entries: list[Entry] = []
    for attempt in (0, *numbers):
        payloads = draw(st.lists(PAYLOADS, min_size=1, max_size=max_entries))
        for seq, payload in enumerate(payloads, start=1):
            is_mark = attempt > 0 and seq == 1
            field = Field.MARK if is_mark else Field.EVENT
            entries.append(Entry(Cursor(attempt, seq), field, b"" if is_mark else payload))
    if draw(st.booleans()):
        last = entries[-1].cursor
        status = draw(st.sampled_from(sorted(ENDED)))
        entries.append(Entry(Cursor(last.attempt, last.seq + 1), Field.END, status.value.encode()))
    return entries
