"""A thread's row, field by field: what a caller has changed of it is written over what it is by now. Pure.

A caller changes a field where it saves a value that it has never loaded: the SDK saves whole threads, and stale copies
of them. A key of `metadata` is a field of its own.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from chatkit.types import ThreadMetadata

from relaykit.shared.text import dump_json

MAX_THREADS: Final = 100
"""Threads of which a caller's loads are remembered; one beyond them is saved as by a caller that has not loaded it."""
MAX_VALUES: Final = 16
"""Different values of a field that a caller has loaded since it changed the field."""

METADATA: Final = "metadata"
Field = tuple[str, ...]
"""`("title",)`, or `("metadata", key)`."""
TITLE: Final[Field] = ("title",)
NOTHING: Final = ""
"""The text of a field that is not there; no JSON is empty."""

Fields = dict[Field, str]
"""Each with the JSON of its value, in one spelling."""


def thread_json(thread: ThreadMetadata) -> str:
    """A thread as it is stored: without its items."""
    return dump_json(thread, exclude={"items"})


def fields_of(data: str) -> Fields:
    """The fields of a stored thread."""
    fields: Fields = {}
    for name, value in json.loads(data).items():
        if name == METADATA:
            fields.update({(METADATA, key): _text(inner) for key, inner in value.items()})
        else:
            fields[name,] = _text(value)
    return fields


def data_of(fields: Fields) -> str:
    """The stored thread that has these fields."""
    data: dict[str, Any] = {METADATA: {}}
    for (name, *keys), text in fields.items():
        if keys:
            data[METADATA][keys[0]] = json.loads(text)
        else:
            data[name] = json.loads(text)
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


class Change(NamedTuple):
    """A field that is to be another one than in the row. The texts are NOTHING where it is not there."""

    field: Field
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Merged:
    """What is to be written, and what it changes."""

    fields: Fields
    changes: list[Change]

    @property
    def changes_title(self) -> bool:
        return any(change.field == TITLE for change in self.changes)


class Loaded:
    """What a caller knows of one thread: its row when it was last read or written, and the values of its fields."""

    __slots__ = ("_values", "row")

    def __init__(self, row: str) -> None:
        self.row = row
        self._values: dict[Field, dict[str, None]] | None = None
        """None as long as the row was read once: most threads that are loaded are not saved."""

    def note(self, row: str) -> None:
        """The caller has read the row."""
        if row == self.row:
            return
        self._note(row)
        self.row = row

    def note_saved(self, row: str, changes: Iterable[Change]) -> None:
        """The caller has written the row: what it changed it has not loaded since."""
        self._note(row)
        self.row = row
        for change in changes:
            self._known[change.field] = {change.after: None}

    def has(self, field: Field, text: str) -> bool:
        """Whether the caller has loaded this value since it changed the field."""
        return text in self._known.get(field, (NOTHING,))

    def fields(self) -> Iterable[Field]:
        """All fields that it has ever seen."""
        return self._known

    @property
    def _known(self) -> dict[Field, dict[str, None]]:
        if self._values is None:
            self._values = {field: {text: None} for field, text in _as_loaded(self.row).items()}
        return self._values

    def _note(self, row: str) -> None:
        known, fields = self._known, _as_loaded(row)
        for field in [*known, *(field for field in fields if field not in known)]:
            values = known.setdefault(field, {NOTHING: None})
            values[fields.get(field, NOTHING)] = None
            if len(values) > MAX_VALUES:
                del values[list(values)[1]]  # the first one is in the thread that the SDK holds


def _as_loaded(row: str) -> Fields:
    """The row as the SDK's model gives it, which fills in what is absent."""
    return fields_of(thread_json(ThreadMetadata.model_validate_json(row)))


class LoadedThreads:
    """What one caller, an API request or an attempt of a run, has loaded of the threads it asked for last."""

    __slots__ = ("_threads",)

    def __init__(self) -> None:
        self._threads: OrderedDict[str, Loaded] = OrderedDict()

    def get(self, thread_id: str) -> Loaded | None:
        return self._threads.get(thread_id)

    def note(self, thread_id: str, row: str) -> None:
        """The caller has read the thread's row."""
        loaded = self._threads.get(thread_id)
        if loaded is None:
            self._add(thread_id, Loaded(row))
        else:
            loaded.note(row)

    def note_saved(self, thread_id: str, row: str, changes: Iterable[Change]) -> None:
        """The caller has written the thread's row."""
        loaded = self._threads.get(thread_id)
        if loaded is None:
            self._add(thread_id, Loaded(row))
        else:
            loaded.note_saved(row, changes)

    def forget(self, thread_id: str) -> None:
        """What the caller has loaded of the thread is not what it changes any more."""
        self._threads.pop(thread_id, None)

    def _add(self, thread_id: str, loaded: Loaded) -> None:
        self._threads[thread_id] = loaded
        if len(self._threads) > MAX_THREADS:
            self._threads.popitem(last=False)


def merge(
    mine: Fields, row: Fields, loaded: Loaded | None, *, in_run: bool = False, is_titled: bool = False
) -> Merged:
    """The row with what the caller has changed.

    All of it is the caller's where it has not loaded the thread. A run leaves a title alone that another writer has
    given the thread meanwhile (`is_titled`, or by its value); of all else what is saved last is kept.
    """
    merged, changes = dict(row), []
    seen = row.keys() if loaded is None else loaded.fields()
    for field in dict.fromkeys([*mine, *seen]):
        before, after = row.get(field, NOTHING), mine.get(field, NOTHING)
        if before == after or (loaded is not None and loaded.has(field, after)):
            continue
        if (
            field == TITLE
            and in_run
            and (is_titled or (loaded is not None and not loaded.has(field, before)))
        ):
            continue
        changes.append(Change(field, before, after))
        _set(merged, field, after)
    return Merged(merged, changes)


def taken_back(row: Fields, changes: Iterable[Change]) -> Fields:
    """The row without these changes; a field with another value by now was changed by another writer, and stays."""
    result = dict(row)
    for change in changes:
        if row.get(change.field, NOTHING) == change.after:
            _set(result, change.field, change.before)
    return result


def refresh(thread: ThreadMetadata, saved: Fields, row: str) -> None:
    """Gives the caller's thread what others have changed: where it still is what was saved, and in place."""
    current = fields_of(thread_json(thread))
    newest = ThreadMetadata.model_validate_json(row)
    fields = fields_of(thread_json(newest))
    for field in {*fields, *saved}:
        text = saved.get(field, NOTHING)
        if fields.get(field, NOTHING) == text or current.get(field, NOTHING) != text:
            continue
        name, *keys = field
        if not keys:
            if name in ThreadMetadata.model_fields:
                setattr(thread, name, getattr(newest, name))
        elif keys[0] in newest.metadata:
            thread.metadata[keys[0]] = newest.metadata[keys[0]]
        else:
            thread.metadata.pop(keys[0], None)


def _set(fields: Fields, field: Field, text: str) -> None:
    if text == NOTHING:
        fields.pop(field, None)
    else:
        fields[field] = text


def columns_of(changes: Iterable[Change]) -> tuple[list[str], list[str], list[str]]:
    """For rows with `field`, `before` and `after`; a field's name is JSON, since no text of Postgres' holds U+0000."""
    rows = [(json.dumps(change.field), change.before, change.after) for change in changes]
    return [row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows]


def changes_of(rows: Iterable[Any]) -> list[Change]:
    """From such rows."""
    return [Change(tuple(json.loads(row["field"])), row["before"], row["after"]) for row in rows]
