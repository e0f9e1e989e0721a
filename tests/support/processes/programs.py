"""Programs that no wheel carries. Where one is not installed its tests are skipped and say so; in CI they fail."""

from __future__ import annotations

import os
import shutil

import pytest


def required(program: str) -> str:
    """The program's path."""
    found = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        assert not os.environ.get("CI"), f"CI runs these tests; install {program}"
        pytest.skip(f"{program} is not installed")
    return found
