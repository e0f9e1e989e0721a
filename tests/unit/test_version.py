"""The version stands in two places, of which one is not installed with the other."""

from __future__ import annotations

import tomllib

from relaykit.shared.version import VERSION
from tests.support.system import ROOT


def test_it_is_that_of_the_project() -> None:
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == VERSION
