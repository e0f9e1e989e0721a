"""Local mode starts several workers on one host, each of which needs a port of its own for its probes."""

from __future__ import annotations

import pytest

from relaykit.local.supervisor import _worker_port


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, [{}, {}]),
        ({"WORKER_PORT": "0"}, [{}, {}]),
        ({"WORKER_PORT": "9100"}, [{"WORKER_PORT": "9100"}, {"WORKER_PORT": "9101"}]),
        ({"WORKER_PORT": "soon"}, [{}, {}]),  # each worker says that it is none
    ],
)
def test_the_ports_of_workers_count_up_from_the_one_that_is_given(given, expected):
    assert [_worker_port(given, index) for index in range(2)] == expected
