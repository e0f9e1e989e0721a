"""`.env.example` and the settings say the same."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest

from relaykit.shared.settings import Settings

FILE = Path(__file__).parents[2] / ".env.example"
LINES = FILE.read_text().splitlines()
ASSIGNMENT = re.compile(r"([A-Z_]+)=")
TOKENS = {"jwks_url", "jwt_issuer", "jwt_audience"}
"""Required, unless something else says who is calling."""
REQUIRED = TOKENS | {name for name, field in Settings.model_fields.items() if field.is_required()}


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def test_names_are_those_of_the_settings() -> None:
    names = [match[1] for line in LINES if (match := ASSIGNMENT.match(line))]
    assert names == [name.upper() for name in Settings.model_fields]


def test_values_are_the_defaults() -> None:
    example = Settings(_env_file=FILE)
    defaults = Settings(**{name: getattr(example, name) for name in REQUIRED})
    assert example.model_dump() == defaults.model_dump()


def test_each_says_what_it_is() -> None:
    bare = [line for before, line in pairwise(LINES) if ASSIGNMENT.match(line) and before[:2] != "# "]
    assert not bare, f"without a comment: {bare}"


def test_required_settings_are_marked() -> None:
    marked = {
        line.split("=")[0].lower()
        for before, line in pairwise(LINES)
        if ASSIGNMENT.match(line) and before.startswith("# Required")
    }
    assert marked == REQUIRED


def test_the_file_suits_a_site_that_signs_by_a_secret() -> None:
    """What an operator changes is the secret and the line that it stands for; the defaults may stay."""
    signed = Settings(_env_file=FILE, jwt_secret="x" * 32, jwks_url=None)
    assert signed.jwt_secret == "x" * 32
