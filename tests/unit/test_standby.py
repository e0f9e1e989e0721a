"""What is imported before a fork may start no thread: the fork would not have it, and its locks would stay taken."""

from __future__ import annotations

import subprocess
import sys

import pytest

SHOW = """
import importlib, os, sys, threading
importlib.import_module(sys.argv[1])
tasks = len(os.listdir("/proc/self/task")) if sys.platform == "linux" else 1
print(threading.active_count(), tasks)
"""


@pytest.mark.parametrize("package", ["relaykit.api", "relaykit.worker"])
def test_the_imports_of_a_process_start_no_thread(package: str) -> None:
    command = [sys.executable, "-c", SHOW, f"{package}.__main__"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "1 1\n"
