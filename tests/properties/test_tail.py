"""The relay's tail against a plain list, and the two questions about holes against a journal trimmed anywhere."""

from __future__ import annotations

from hypothesis import assume, given
from hypothesis import strategies as st

from relaykit.api.relay.sse import encode
from relaykit.api.relay.subscription import chunk_after
from relaykit.api.relay.tail import Tail, adjoins, continues
from relaykit.shared.errors import JournalGone
from relaykit.shared.journal import START, Cursor, Entry, Field, follows
from tests.properties.journals import journals
from tests.support.examples import examples

quick = examples(80)


def sent(entries: list[Entry]) -> bytes:
    return b"".join(map(encode, entries))


def after(entries: list[Entry], cursor: Cursor) -> list[Entry]:
    return [entry for entry in entries if entry.cursor > cursor]


def pieces(data: st.DataObject, entries: list[Entry]) -> list[list[Entry]]:
    """The entries cut into batches, some of them empty."""
    cuts = sorted(data.draw(st.lists(st.integers(0, len(entries)), max_size=6)))
    return [entries[a:b] for a, b in zip([0, *cuts], [*cuts, len(entries)], strict=True)]


@quick
@given(journals(), st.integers(20, 600), st.data())
def test_from_any_cursor_not_before_its_start_a_tail_gives_exactly_the_rest(entries, max_bytes, data):
    """However the entries came, and however little it may hold; it never holds more than it may."""
    begin = data.draw(st.integers(0, len(entries) - 1))
    start = entries[begin - 1].cursor if begin else START
    tail = Tail(start, max_bytes)
    taken: list[Entry] = []
    for batch in pieces(data, entries[begin:]):
        assert tail.extend(batch)
        taken += batch
        if data.draw(st.booleans()):
            tail.shrink()
        assert tail.last == (taken[-1].cursor if taken else start)
        assert tail.ended == bool(taken and taken[-1].field is Field.END)
        kept = tail.after(tail.start)
        assert len(kept.data if kept else b"") <= max_bytes
        for cursor in [tail.start, *(entry.cursor for entry in entries if entry.cursor >= tail.start)]:
            rest = after(taken, cursor)
            chunk = tail.after(cursor)
            if not rest:
                assert chunk is None
            else:
                assert (chunk.data, chunk.cursor, chunk.ended) == (sent(rest), tail.last, tail.ended)


@quick
@given(journals(), st.data())
def test_a_tail_takes_nothing_behind_a_hole_and_nothing_twice(entries, data):
    lost = data.draw(st.integers(0, len(entries) - 1))
    assume(entries[lost].cursor.seq > 1 or lost == 0)
    before, behind = entries[:lost], entries[lost + 1 :]
    assume(behind and behind[0].cursor.seq > 1)
    tail = Tail(START, 10**6)
    assert not tail.extend(before + behind)
    kept = tail.after(START)
    assert (kept.data if kept else b"") == sent(before)
    if before:
        again = data.draw(st.integers(0, lost - 1))
        assert not tail.extend(before[again:])
        assert tail.last == before[-1].cursor


@quick
@given(journals(), st.data())
def test_a_tail_that_was_restarted_goes_on_behind_the_hole(entries, data):
    place = data.draw(st.integers(0, len(entries) - 1))
    tail = Tail(START, 10**6)
    assert tail.extend(entries[: data.draw(st.integers(0, place))])
    tail.restart(entries[place].cursor, ended=entries[place].field is Field.END)
    assert tail.ended == (entries[place].field is Field.END)
    assert tail.extend(entries[place + 1 :])
    chunk = tail.after(entries[place].cursor)
    assert (chunk.data if chunk else b"") == sent(entries[place + 1 :])


@quick
@given(journals())
def test_each_entry_continues_the_one_before_and_no_earlier_one_of_its_attempt(entries):
    cursors = [START, *(entry.cursor for entry in entries)]
    for place, entry in enumerate(entries):
        assert continues(cursors[place], entry)
        for earlier in cursors[:place]:
            if entry.cursor.seq > 1 or earlier.attempt == entry.cursor.attempt:
                assert not continues(earlier, entry)
        for later in cursors[place + 1 :]:
            assert not continues(later, entry)


@quick
@given(journals(), st.integers(0, 9))
def test_an_end_that_an_attempt_begins_with_continues_nothing(entries, more):
    """What came between is lost. An attempt that had nothing to say has its start before its end."""
    last = entries[-1].cursor
    end = Entry(Cursor(last.attempt + more, 1), Field.END, b"completed")
    assert not any(continues(cursor, end) for cursor in [START, *(entry.cursor for entry in entries)])


@quick
@given(journals())
def test_what_adjoins_a_cursor_is_the_very_next_entry(entries):
    """Which it cannot know where a later attempt begins; of what admission wrote all is known, or nothing."""
    cursors = [START, *(entry.cursor for entry in entries)]
    for place, entry in enumerate(entries):
        admitted = place > 0 and cursors[place].attempt == 0
        for earlier in cursors[:place]:
            assert not adjoins(earlier, entry) or (admitted and earlier.attempt == 0)
        known = entry.cursor.attempt == cursors[place].attempt or (admitted and entry.cursor.attempt == 1)
        assert adjoins(cursors[place], entry) == (place > 0 and known)


@quick
@given(journals(), st.data())
def test_a_trimmed_journal_follows_a_cursor_only_where_nothing_after_it_was_trimmed(entries, data):
    """Where whole attempts are gone it says no even to a cursor that would have missed nothing: it cannot know."""
    trimmed = data.draw(st.integers(0, len(entries) - 1))
    first = entries[trimmed].cursor
    for cursor in [START, *(entry.cursor for entry in entries)]:
        misses_nothing = not after(entries[:trimmed], cursor)
        cannot_know = first.seq == 1 and first.attempt > 0 and cursor.attempt < first.attempt
        assert follows(first, cursor) == (misses_nothing and not cannot_know)


@quick
@given(journals(), st.data())
def test_reading_a_trimmed_journal_gives_the_rest_or_says_that_it_is_gone(entries, data):
    """Trimming removes the beginning of an attempt that goes on, never up to the beginning of another."""
    trimmed = data.draw(st.integers(0, len(entries) - 1))
    assume(trimmed == 0 or entries[trimmed].cursor.seq > 1)
    kept = entries[trimmed:]
    for cursor in [START, *(entry.cursor for entry in entries)]:
        rest = after(kept, cursor)
        misses_nothing = not after(entries[:trimmed], cursor)
        try:
            chunk = chunk_after(cursor, rest)
        except JournalGone:
            assert not misses_nothing
            continue
        assert misses_nothing
        if not rest:
            assert chunk is None
        else:
            ended = rest[-1].field is Field.END
            assert (chunk.data, chunk.cursor, chunk.ended) == (sent(rest), rest[-1].cursor, ended)


def test_a_cursor_whose_entry_a_failover_lost_is_not_continued():
    """The client had read 1-7 at the old primary, the replica ends with 1-5, and the next attempt begins there."""
    event = b'{"n":1}'
    first = [Entry(Cursor(0, 1), Field.EVENT, event), Entry(Cursor(1, 1), Field.ATTEMPT_START, b"0-1")]
    first += [Entry(Cursor(1, seq), Field.EVENT, event) for seq in range(2, 6)]
    later = [
        Entry(Cursor(2, 1), Field.ATTEMPT_START, b"1-5"),
        Entry(Cursor(2, 2), Field.EVENT, event),
        Entry(Cursor(3, 1), Field.ATTEMPT_START, b"2-2"),
    ]
    ahead = Cursor(1, 7)
    tail = Tail(START, 10**6)
    assert tail.extend(first)
    assert not tail.is_lost_to(ahead)
    for start in (*later[:1], *later[2:]):
        assert tail.extend([entry for entry in later if tail.last < entry.cursor <= start.cursor])
        assert tail.is_lost_to(ahead)
        assert tail.is_lost_to(Cursor(1, 6))
        for entry in (*first, *later):
            assert not tail.is_lost_to(entry.cursor)
    assert tail.is_lost_to(Cursor(2, 3))
    assert not tail.is_lost_to(Cursor(3, 2))


def test_a_cursor_that_was_ahead_is_continued_where_its_entry_has_come():
    tail = Tail(START, 10**6)
    entries = [Entry(Cursor(0, seq), Field.EVENT, b'{"n":1}') for seq in range(1, 8)]
    assert tail.extend(entries[:5])
    assert not tail.is_lost_to(entries[6].cursor)
    assert tail.extend(entries[5:])
    assert not tail.is_lost_to(entries[6].cursor)
    tail.shrink()
    assert not tail.is_lost_to(entries[0].cursor)
