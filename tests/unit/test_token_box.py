"""The caller's token at rest: only the run's own row and a known key give it back."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relaykit.shared.errors import SettingsError, TokenUnreadable
from relaykit.shared.token_box import TokenBox

OLD = base64.urlsafe_b64encode(b"o" * 32).decode()
NEW = base64.urlsafe_b64encode(b"n" * 32).decode()


@given(
    run_id=st.text(st.characters(exclude_categories=["Cs"])),
    token=st.text(st.characters(exclude_categories=["Cs"])),
)
def test_what_was_sealed_opens_for_the_same_run(run_id, token):
    box = TokenBox(NEW)
    assert box.open(run_id, box.seal(run_id, token)) == token


def test_the_sealed_token_does_not_show_the_token_and_differs_each_time():
    box = TokenBox(NEW)
    first, second = box.seal("run", "secret-token"), box.seal("run", "secret-token")
    assert b"secret" not in first
    assert first != second


def test_it_does_not_open_for_another_run():
    box = TokenBox(NEW)
    with pytest.raises(TokenUnreadable):
        box.open("run_2", box.seal("run_1", "t"))


def test_no_changed_byte_opens():
    box = TokenBox(NEW)
    blob = box.seal("run", "token")
    for place in range(len(blob)):
        changed = blob[:place] + bytes([blob[place] ^ 1]) + blob[place + 1 :]
        with pytest.raises(TokenUnreadable):
            box.open("run", changed)


def test_no_shortened_blob_opens():
    box = TokenBox(NEW)
    blob = box.seal("run", "token")
    for length in range(len(blob)):
        with pytest.raises(TokenUnreadable):
            box.open("run", blob[:length])


def test_after_a_change_of_key_the_old_one_still_opens_and_the_new_one_seals():
    before, after = TokenBox(OLD), TokenBox(f"{NEW}, {OLD}")
    assert after.open("run", before.seal("run", "t")) == "t"
    assert TokenBox(NEW).open("run", after.seal("run", "t")) == "t"
    with pytest.raises(TokenUnreadable):
        before.open("run", after.seal("run", "t"))


def test_both_base64_alphabets_with_and_without_padding_are_the_same_key():
    key = b"\xfb\xff" * 16
    forms = [base64.urlsafe_b64encode(key).decode(), base64.b64encode(key).decode()]
    boxes = [TokenBox(form) for form in (*forms, *(form.rstrip("=") for form in forms))]
    blob = boxes[0].seal("run", "t")
    assert [box.open("run", blob) for box in boxes] == ["t"] * 4


@pytest.mark.parametrize(
    "keys",
    [
        "",
        ",",
        f"{NEW},",
        "short",
        "not base64!",
        "ä" * 43,
        "a",
        base64.b64encode(bytes(range(16))).decode(),
        base64.b64encode(bytes(range(64))).decode(),
    ],
)
def test_a_bad_key_is_a_bad_setting_and_is_not_shown(keys):
    with pytest.raises(SettingsError) as caught:
        TokenBox(keys)
    assert "FORWARD_TOKEN_KEY" in str(caught.value)
    assert len(keys) < 8 or keys.strip(",") not in str(caught.value)


def test_a_box_shows_no_key():
    assert NEW not in repr(TokenBox(NEW))
