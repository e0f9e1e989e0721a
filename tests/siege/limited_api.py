"""`python -m tests.siege.limited_api`: `relaykit api` with as many descriptors as SIEGE_DESCRIPTORS says."""

from __future__ import annotations

import os
import resource
import runpy

if __name__ == "__main__":
    limit = int(os.environ["SIEGE_DESCRIPTORS"])
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    runpy.run_module("relaykit.api", run_name="__main__", alter_sys=True)
