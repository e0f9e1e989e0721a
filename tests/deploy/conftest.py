"""The image of deploy/docker, built once for all tests that need it."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from relaykit.shared.version import VERSION
from tests.support.processes.containers import DOCKERFILE, Engine, engine
from tests.support.system import ROOT

IMAGE = f"relaykit:{VERSION}"
if find_spec("kubernetes_validate") is None:
    collect_ignore_glob = ["test_*.py"]  # `make test-deploy` installs what they import


@pytest.fixture(scope="session")
def containers() -> Iterator[Engine]:
    with engine() as made:
        yield made


@pytest.fixture(scope="session")
def image(containers: Engine) -> str:
    """Its tag, as `make image` gives it."""
    built = containers.build(DOCKERFILE, ROOT, IMAGE)
    assert built.returncode == 0, built.stderr[-4000:] + built.stdout[-2000:]
    return IMAGE
