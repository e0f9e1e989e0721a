"""Local mode's workers listen side by side."""

from __future__ import annotations

import pytest

from relaykit.local.errors import LocalModeError
from relaykit.local.local_settings import read_local_settings


@pytest.mark.parametrize(
    ("environ", "ports"),
    [
        ({}, (None, None)),
        ({"WORKER_PORT": "0"}, (None, None)),
        ({"WORKER_PORT": "9100"}, (9100, 9101)),
    ],
)
def test_each_worker_has_a_port_of_its_own(environ: dict[str, str], ports: tuple[int | None, ...]) -> None:
    assert read_local_settings({"WORKERS": "2", **environ}).worker_ports == ports


@pytest.mark.parametrize("port", ["soon", "-1", "65534"])
def test_a_port_that_not_all_of_them_can_have_is_refused(port: str) -> None:
    with pytest.raises(LocalModeError, match="WORKER_PORT: must be a whole number from 0 to 65533"):
        read_local_settings({"WORKERS": "2", "WORKER_PORT": port})
