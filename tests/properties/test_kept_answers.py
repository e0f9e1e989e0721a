"""What AUTHENTICATE has answered is used again only for requests for which it would answer the same."""

from __future__ import annotations

import copy
import pickle
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relaykit.api.auth.hook import KeptAnswers
from relaykit.api.auth.identity import Identity
from relaykit.shared.site.authentication import AuthRequest

NAMES, VALUES = ("a", "b", "c"), ("", "x", "y")


@dataclass
class Question:
    """A part of the request, and what is asked next for each of its values; a text is an answer."""

    part: tuple[str, str]
    next: dict[str, Any]


PARTS = st.sampled_from(
    [
        *(("header", name) for name in NAMES),
        *(("cookie", name) for name in NAMES),
        ("headers", ""),
        ("cookies", ""),
        ("path", ""),
        ("method", ""),
        ("client", ""),
    ]
)
HOOKS = st.recursive(
    st.sampled_from(["alice", "bob", None]),
    lambda more: st.builds(Question, PARTS, st.fixed_dictionaries(dict.fromkeys(VALUES, more))),
    max_leaves=12,
)
FIELDS = st.dictionaries(st.sampled_from(NAMES), st.sampled_from(VALUES))
REQUESTS = st.fixed_dictionaries(
    {
        "method": st.sampled_from(VALUES),
        "path": st.sampled_from(VALUES),
        "client": st.sampled_from(VALUES),
        "headers": FIELDS,
        "cookies": FIELDS,
    }
)


def answer(hook: Any, request: AuthRequest) -> str | None:
    """What the hook answers, reading as it goes."""
    while isinstance(hook, Question):
        kind, name = hook.part
        match kind:
            case "header":
                value = request.headers.get(name.upper(), "")
            case "cookie":
                value = request.cookies.get(name, "")
            case "headers":
                value = VALUES[len(list(request.headers)) % 3]
            case "cookies":
                value = VALUES[len(request.cookies) % 3]
            case _:
                value = getattr(request, kind)
        hook = hook.next[value]
    return hook


def identity(user: str | None) -> Identity | None:
    if user is None:
        return None
    return Identity(user_id=user, tenant=None, tier=None, claims={}, token="", expires_at=0)


@given(HOOKS, st.lists(REQUESTS, max_size=30))
def test_a_kept_answer_is_what_it_would_answer(hook: Any, requests: list[dict[str, Any]]) -> None:
    kept = KeptAnswers()
    for fields in requests:
        request = AuthRequest(**fields)
        known = kept.find(request, now=1.0)
        right = answer(hook, AuthRequest(**fields))
        if known is not None:
            found = known[0]
            assert (found.user_id if isinstance(found, Identity) else None) == right
        else:
            answer(hook, request)
            kept.keep(request, request.reads, identity(right), until=2.0, now=1.0)


def test_an_answer_ends_with_its_time() -> None:
    kept, request = KeptAnswers(), AuthRequest(method="GET", path="/", headers={}, cookies={})
    kept.keep(request, (("path", ""),), identity("alice"), until=2.0, now=1.0)
    assert kept.find(request, now=1.9) is not None
    assert kept.find(request, now=2.0) is None


def test_what_has_ended_is_not_kept() -> None:
    kept = KeptAnswers()
    for number in range(100):
        request = AuthRequest(method="GET", path=f"/{number}", headers={}, cookies={})
        kept.keep(request, (("path", ""),), None, until=number + 1.0, now=float(number))
    assert len(kept) == 1


def test_what_is_read_of_a_copy_is_noted() -> None:
    """Else the answer would hold for every request."""
    fields = {"X-User": "alice"}
    for copied in (copy.copy, copy.deepcopy, lambda each: pickle.loads(pickle.dumps(each))):
        request = AuthRequest(method="GET", path="/", headers=fields, cookies={})
        assert copied(request.headers)["x-user"] == "alice"
        assert request.reads
    request = AuthRequest(method="GET", path="/", headers=fields, cookies={})
    assert copy.deepcopy(request).headers["x-user"] == "alice"
    assert request.reads == (("header", "x-user"),)
    with pytest.raises(TypeError):
        pickle.dumps(request)
