"""What a figure was measured on, and what the processes may have open there."""

from __future__ import annotations

import os
import platform
import resource
from pathlib import Path


def describe() -> str:
    """Cores, processor and Python, in one line."""
    model = next(
        (line.partition(":")[2].strip() for line in _cpuinfo() if line.startswith("model name")),
        platform.machine(),
    )
    return f"{os.cpu_count()} cores of {model}, Python {platform.python_version()}"


def allow_many_files() -> None:
    """As many as the system lets this process and its children have: each client is one, on both sides."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []
