"""What a caller saves of a thread, against what others have made of it meanwhile: field by field, whoever was first."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from chatkit.types import ActiveStatus, ClosedStatus, LockedStatus, ThreadMetadata
from hypothesis import given
from hypothesis import strategies as st

from relaykit.shared.thread_merge import (
    MAX_THREADS,
    MAX_VALUES,
    NOTHING,
    TITLE,
    Change,
    Loaded,
    LoadedThreads,
    data_of,
    fields_of,
    merge,
    refresh,
    taken_back,
    thread_json,
)
from tests.support.examples import examples

TEXTS = st.text(alphabet="ab\x00é\U0001f600", max_size=3)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(0, 1) | st.just(1.0) | TEXTS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXTS, inner, max_size=2),
    max_leaves=3,
)
threads = st.builds(
    ThreadMetadata,
    id=st.just("thr_1"),
    created_at=st.just(datetime(2026, 1, 1, tzinfo=UTC)),
    title=st.none() | TEXTS,
    status=st.sampled_from([ActiveStatus(), LockedStatus(reason="r"), ClosedStatus()]),
    allowed_image_domains=st.none() | st.lists(TEXTS, max_size=1),
    metadata=st.dictionaries(st.sampled_from(["a", "b", "\x00", "title"]), VALUES, max_size=3),
)
many = examples(200)


def fields(thread: ThreadMetadata) -> dict[tuple[str, ...], str]:
    return fields_of(thread_json(thread))


@many
@given(thread=threads)
def test_a_thread_is_its_fields(thread: ThreadMetadata) -> None:
    assert ThreadMetadata.model_validate_json(data_of(fields(thread))) == thread


@many
@given(base=threads, mine=threads, theirs=threads, in_run=st.booleans(), stale=st.booleans())
def test_each_field_is_that_of_who_has_changed_it(
    base: ThreadMetadata, mine: ThreadMetadata, theirs: ThreadMetadata, in_run: bool, stale: bool
) -> None:
    """Where both have: the caller's, but for a title, which is the others' where the caller is a run."""
    loaded = Loaded(thread_json(base))
    merged = merge(fields(mine), fields(theirs), loaded, in_run=in_run)
    for field in {*fields(base), *fields(mine), *fields(theirs)}:
        was, own, other = (fields(thread).get(field, NOTHING) for thread in (base, mine, theirs))
        is_theirs = own == was or (field == TITLE and in_run and other != was)
        assert merged.fields.get(field, NOTHING) == (other if is_theirs else own), field
    assert taken_back(merged.fields, merged.changes) == fields(theirs)


@many
@given(base=threads, theirs=threads, mine=threads)
def test_a_stale_copy_that_is_saved_undoes_nothing_that_the_caller_has_loaded_meanwhile(
    base: ThreadMetadata, theirs: ThreadMetadata, mine: ThreadMetadata
) -> None:
    """The SDK saves the thread that it was given, whatever the server has loaded by the way."""
    loaded = Loaded(thread_json(base))
    loaded.note(thread_json(theirs))
    assert merge(fields(base), fields(theirs), loaded).fields == fields(theirs)
    saved = merge(fields(mine), fields(theirs), loaded)
    loaded.note_saved(data_of(saved.fields), saved.changes)
    assert merge(fields(mine), saved.fields, loaded).changes == []
    for change in saved.changes:  # and what it has changed since it can change back
        back = {**fields(mine), change.field: change.before}
        if change.before != NOTHING:
            assert merge(back, saved.fields, loaded).changes == [
                Change(change.field, change.after, change.before)
            ]


@many
@given(base=threads, mine=threads, theirs=threads)
def test_who_has_not_loaded_the_thread_writes_all_of_it(
    base: ThreadMetadata, mine: ThreadMetadata, theirs: ThreadMetadata
) -> None:
    assert merge(fields(mine), fields(theirs), None).fields == fields(mine)


@many
@given(base=threads, mine=threads, title=TEXTS)
def test_a_title_that_is_the_user_s_is_no_run_s_to_change(
    base: ThreadMetadata, mine: ThreadMetadata, title: str
) -> None:
    """Even where the run has loaded it."""
    row = base.model_copy(update={"title": title})
    merged = merge(fields(mine), fields(row), Loaded(thread_json(row)), in_run=True, is_titled=True)
    assert merged.fields[TITLE] == json.dumps(title, ensure_ascii=False)


@many
@given(saved=threads, later=threads, row=threads)
def test_the_caller_s_thread_gets_what_others_have_changed_and_loses_nothing_of_its_own(
    saved: ThreadMetadata, later: ThreadMetadata, row: ThreadMetadata
) -> None:
    """`later` is what the server has made of it while it was being saved."""
    thread, metadata = later, later.metadata
    before = fields(thread)
    refresh(thread, fields(saved), thread_json(row))
    assert thread.metadata is metadata
    for field in {*before, *fields(saved), *fields(row)}:
        is_own = before.get(field, NOTHING) != fields(saved).get(field, NOTHING)
        expected = before if is_own else fields(row)
        assert fields(thread).get(field, NOTHING) == expected.get(field, NOTHING), field


def test_what_is_remembered_is_bounded() -> None:
    """The oldest threads are forgotten; of a field's values the first stays, which the SDK holds."""
    threads = LoadedThreads()
    for number in range(MAX_THREADS + 1):
        threads.note(f"thr_{number}", _row("first"))
    assert threads.get("thr_0") is None
    loaded = threads.get("thr_1")
    assert loaded is not None
    for number in range(2 * MAX_VALUES):
        threads.note("thr_1", _row(str(number)))
    known = [
        title for title in ("first", *map(str, range(2 * MAX_VALUES))) if loaded.has(TITLE, f'"{title}"')
    ]
    assert known == ["first", *map(str, range(MAX_VALUES + 1, 2 * MAX_VALUES))]


def _row(title: str) -> str:
    return thread_json(ThreadMetadata(id="thr_1", created_at=datetime(2026, 1, 1), title=title))
