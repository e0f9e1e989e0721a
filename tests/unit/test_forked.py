"""A forked process heeds what its test sets, or says that it would not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.processes.forked import fork, nothing, run_command


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PYTHONPATH", "/elsewhere"),
        ("PYTHONHASHSEED", "1"),
        ("LD_PRELOAD", "/lib/faketime.so"),
        ("TZ", "UTC"),
    ],
)
def test_a_variable_that_is_read_at_the_start_is_refused(tmp_path: Path, name: str, value: str) -> None:
    """The code of another release by PYTHONPATH, say: the test would pass with that of this one."""
    with pytest.raises(AssertionError, match="start it anew"):
        fork("worker", {name: value}, tmp_path / "log", nothing)
    with pytest.raises(AssertionError, match="start it anew"):
        run_command(["--version"], {name: value}, timeout=1)
