"""Signed links: the very grant passes until its time is over, and nothing else does."""

from __future__ import annotations

from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relaykit.shared.attachments.links import Grant, check, link, parse_expires, sign
from relaykit.shared.errors import InvalidSignature
from relaykit.shared.owner import Owner

texts = st.text(max_size=20)
keys = st.text(min_size=32, max_size=50)
times = st.integers(0, 999_999_999_999)
grants = st.builds(
    Grant,
    method=st.sampled_from(["GET", "PUT"]),
    attachment_id=texts,
    owner=st.builds(Owner, tenant=texts, user_id=texts),
    expires=st.none() | times,
)


@given(keys, grants, times)
def test_a_grant_passes_until_its_time_is_over(key: str, grant: Grant, now: int) -> None:
    signature = sign(key, grant)
    if grant.expires is None or now < grant.expires:
        check(key, grant, signature, now)
    else:
        with pytest.raises(InvalidSignature):
            check(key, grant, signature, now)


@given(keys, grants, grants)
def test_no_other_grant_has_its_signature(key: str, grant: Grant, other: Grant) -> None:
    """Neither by moving characters from one part into the next, nor by leaving the time out."""
    assert (sign(key, grant) == sign(key, other)) == (grant == other)


@given(keys, texts, texts, texts, st.integers(0, 20))
def test_characters_cannot_move_between_parts(key: str, a: str, b: str, c: str, cut: int) -> None:
    joined = a + b
    one = Grant("GET", joined[:cut], Owner(tenant=joined[cut:], user_id=c), None)
    other = Grant("GET", a, Owner(tenant=b, user_id=c), None)
    assert (sign(key, one) == sign(key, other)) == (one == other)


@given(keys, texts, texts, texts, st.integers(0, 20))
def test_characters_cannot_move_between_tenant_and_user(key: str, a: str, b: str, c: str, cut: int) -> None:
    joined = b + c
    one = Grant("GET", a, Owner(tenant=joined[:cut], user_id=joined[cut:]), None)
    other = Grant("GET", a, Owner(tenant=b, user_id=c), None)
    assert (sign(key, one) == sign(key, other)) == (one == other)


def test_a_link_of_the_release_before_is_good() -> None:
    acme, nobodys = Owner(tenant="acme", user_id="alice"), Owner(tenant="", user_id="alice")
    check(
        "k" * 32, Grant("GET", "atc_1", acme, 1_700_000_000), "8-x8tuvI1twR6ZgMrSx3heuFcRGmsKiS2vmXMiS84I0", 0
    )
    check("k" * 32, Grant("PUT", "atc_1", nobodys, None), "zx0K5HrE9KwqMZeTa_2qG-JiCVT0-E6q9jAQvUYhPyM", 0)


@given(keys, keys, grants)
def test_another_key_gives_another_signature(key: str, other: str, grant: Grant) -> None:
    assert (sign(key, grant) == sign(other, grant)) == (key == other)


@given(keys, grants, st.text())
def test_whatever_else_stands_in_its_place_is_refused(key: str, grant: Grant, forged: str) -> None:
    if forged == sign(key, grant):
        return
    with pytest.raises(InvalidSignature):
        check(key, grant, forged, 0)


@given(keys, grants)
def test_a_link_carries_the_grant(key: str, grant: Grant) -> None:
    parts = urlsplit(link(key, "https://chat.example.com/prefix/", grant))
    query = parse_qs(parts.query)
    assert parts.netloc == "chat.example.com"
    assert unquote(parts.path) == f"/prefix/attachments/{grant.attachment_id}"
    assert parse_expires(query["expires"][0] if "expires" in query else None) == grant.expires
    assert query["signature"] == [sign(key, grant)]
    assert set(query) <= {"expires", "signature"}


@given(st.text())
def test_expires_is_read_only_as_it_is_written(value: str) -> None:
    try:
        parsed = parse_expires(value)
    except InvalidSignature:
        return
    assert str(parsed) == value
