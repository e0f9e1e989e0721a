"""What the operator's commands take, and how they print what somebody else has named."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime

import pytest

from relaykit.api.auth.identity import Identity
from relaykit.api.ops import operator_check
from relaykit.cli import COMMANDS, main
from relaykit.operator_commands.argument_types import actor_name, age, limit, text
from relaykit.operator_commands.arguments import (
    PLAIN,
    STATUSES,
    SUBCOMMANDS,
)
from relaykit.operator_commands.printing import duration, plain
from relaykit.shared.operating.actor_names import BY_CONSOLE
from relaykit.shared.operating.run_lists import RunFilter
from relaykit.shared.operating.shapes import jsonable
from relaykit.shared.owner import Owner
from relaykit.shared.runs.run import Status


@pytest.mark.parametrize(
    ("given", "seconds"), [("90s", 90), ("15m", 900), ("24h", 86_400), ("7d", 604_800), ("0s", 0)]
)
def test_an_age_is_a_number_with_its_unit(given: str, seconds: float) -> None:
    assert age(given) == seconds


@pytest.mark.parametrize("given", ["", "5", "m", "-5m", "1.5h", "5 m", "5w", "99999999d", "\u0665m"])
def test_anything_else_is_no_age(given: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        age(given)


@pytest.mark.parametrize("given", ["0", "-1", "10001", "x", "", "1e3", "\u0665"])
def test_a_limit_has_a_bound(given: str) -> None:
    assert limit("10000") == 10_000
    with pytest.raises(argparse.ArgumentTypeError):
        limit(given)


@pytest.mark.parametrize("given", ["", "a\x00b", "\udcff"])
def test_a_text_is_one_that_a_row_may_hold(given: str) -> None:
    assert text("\u00fcser") == "\u00fcser"
    with pytest.raises(argparse.ArgumentTypeError):
        text(given)


def test_a_command_takes_no_name_of_the_console_s(capsys: pytest.CaptureFixture[str]) -> None:
    """Those are verified: in the audit they say who acted, and `--by` is the word of whoever runs the command."""
    assert actor_name("ann (night)") == "ann (night)"
    for given in ("ann (console)", "(console)", f"ann{BY_CONSOLE} "):
        with pytest.raises(argparse.ArgumentTypeError):
            actor_name(given)
    with pytest.raises(SystemExit) as ended:
        main(["runs", "cancel", "run_x", "--by", "ann (console)"])
    assert ended.value.code == 2
    assert "ends with (console)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("tenant", "user", "name"),
    [
        (None, "c", "c (console)"),
        (None, "b/c", "b%2Fc (console)"),
        ("b", "c", "b/c (console)"),
        ("a/b", "c", "a%2Fb/c (console)"),
        ("a", "b/c", "a/b%2Fc (console)"),
        ("a%2Fb", "c", "a%252Fb/c (console)"),
        ("", "c", "/c (console)"),
    ],
)
def test_no_two_operators_have_one_name_in_the_audit(tenant: str | None, user: str, name: str) -> None:
    identity = Identity(user_id=user, tenant=tenant, tier=None, claims={}, token="", expires_at=0)
    assert operator_check.actor(identity) == name


def test_the_statuses_are_those_of_runs() -> None:
    """Spelt out, because help imports nothing of the product."""
    assert tuple(Status) == STATUSES


def test_the_statuses_in_which_a_run_may_have_an_error() -> None:
    assert RunFilter(error="timeout").wanted == ["cancelled", "failed"]
    assert RunFilter().wanted == sorted(Status)
    assert RunFilter(error="timeout", statuses=frozenset({Status.FAILED})).wanted == ["failed"]


def test_every_command_of_an_operator_is_registered_once() -> None:
    assert {*SUBCOMMANDS, *PLAIN} <= COMMANDS.keys()
    assert not SUBCOMMANDS.keys() & PLAIN.keys()


@pytest.mark.parametrize(
    "words", [(name, each) for name, within in SUBCOMMANDS.items() for each in within], ids=" ".join
)
def test_each_subcommand_has_help(words: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*words, "--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert said.startswith(f"usage: relaykit {' '.join(words)}")
    assert SUBCOMMANDS[words[0]][words[1]].description.split()[0] in said


def test_a_name_cannot_move_the_cursor_of_the_terminal() -> None:
    assert plain("a\x1b[2Jb\r\n\u202e") == "a\ufffd[2Jb\ufffd\ufffd\ufffd"
    assert (plain(None), plain(""), plain(0)) == ("-", "-", "0")


def test_times_and_owners_are_printed_as_programs_and_people_read_them() -> None:
    assert [duration(each) for each in (None, -3, 0.25, 61, 3661, 90_061)] == [
        "-",
        "0.0s",
        "0.2s",
        "1m1s",
        "1h1m",
        "1d1h",
    ]
    assert plain(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)) == "2026-01-02T03:04:05Z"
    assert jsonable({"at": datetime(2026, 1, 2, tzinfo=UTC), "of": [Owner(tenant="", user_id="alice")]}) == {
        "at": "2026-01-02T00:00:00+00:00",
        "of": [{"tenant": "", "user": "alice"}],
    }
