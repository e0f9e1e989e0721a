"""What the query of a request to the console asks for. What means nothing is refused, and never passed over."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Final

from starlette.datastructures import QueryParams

from relaykit.shared.errors import InvalidFilter
from relaykit.shared.operating.ages import age_seconds
from relaykit.shared.operating.run_lists import RunFilter, RunPosition
from relaykit.shared.runs.run import Status

RUNS_AT_ONCE: Final = 50
MAX_RUNS_AT_ONCE: Final = 200
ENTRIES_AT_ONCE: Final = 200
MAX_ENTRIES_AT_ONCE: Final = 1000
SWITCH: Final[Mapping[str, bool]] = {"": False, "0": False, "1": True}

FILTERS: Final = (
    "status", "since", "older_than", "tenant", "user", "thread", "error", "run", "limit", "before",
)  # fmt: skip


def run_filter(query: QueryParams) -> tuple[RunFilter, int]:
    """Which runs, and how many at most. Raises InvalidFilter."""
    given = _texts(query, FILTERS, repeated={"status"})
    before = given.get("before")
    wanted = RunFilter(
        statuses=frozenset(map(_status, filter(None, query.getlist("status")))),
        since_seconds=_age(given, "since"),
        older_seconds=_age(given, "older_than"),
        tenant=given.get("tenant"),
        user_id=given.get("user"),
        thread_id=given.get("thread"),
        error=given.get("error"),
        run_id=given.get("run"),
        before=None if before is None else RunPosition.parse(before),
    )
    wanted.check()
    return wanted, _limit(given, RUNS_AT_ONCE, MAX_RUNS_AT_ONCE)


def entries_asked(query: QueryParams) -> tuple[str | None, int, bool]:
    """The cursor after which, how many entries at most, and whether with their content. Raises InvalidFilter."""
    given = _texts(query, ("after", "limit", "content"))
    return given.get("after"), _limit(given, ENTRIES_AT_ONCE, MAX_ENTRIES_AT_ONCE), _content(given)


def content_asked(query: QueryParams) -> bool:
    """Raises InvalidFilter."""
    return _content(_texts(query, ("content",)))


def nothing_asked(query: QueryParams) -> None:
    """Raises InvalidFilter."""
    _texts(query, ())


def _texts(query: QueryParams, known: Collection[str], repeated: Collection[str] = ()) -> dict[str, str]:
    """The parameters that have a value; one that is empty says nothing, as a form's empty field."""
    for name in query:
        if name not in known:
            raise InvalidFilter(f"{name[:50]!r} is no parameter of this query.")
        if name not in repeated and len(query.getlist(name)) > 1:
            raise InvalidFilter(f"{name}: is given more than once.")
    found = {name: value for name, value in query.items() if value}
    for name, value in found.items():
        if "\x00" in value:
            raise InvalidFilter(f"{name}: has a NUL character, which no stored value has.")
    return found


def _status(text: str) -> Status:
    try:
        return Status(text)
    except ValueError:
        raise InvalidFilter(f"status: is none of {', '.join(Status)}.") from None


def _age(given: Mapping[str, str], name: str) -> float | None:
    if name not in given:
        return None
    try:
        return age_seconds(given[name])
    except ValueError as error:
        raise InvalidFilter(f"{name}: {error}.") from None


def _limit(given: Mapping[str, str], default: int, most: int) -> int:
    text = given.get("limit", str(default))
    if not re.fullmatch(r"[0-9]{1,9}", text, re.ASCII) or not 1 <= int(text) <= most:
        raise InvalidFilter(f"limit: is no number from 1 to {most}.")
    return int(text)


def _content(given: Mapping[str, str]) -> bool:
    text = given.get("content", "")
    if text not in SWITCH:
        raise InvalidFilter("content: is neither 0 nor 1.")
    return SWITCH[text]
