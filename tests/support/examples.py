"""How many examples a property gets: few, for `make test`, or as many as FUZZ_EXAMPLES says, for `make fuzz`."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

GIVEN = int(os.environ.get("FUZZ_EXAMPLES") or 0)


def examples(count: int) -> settings:
    """`count` examples, or FUZZ_EXAMPLES."""
    return settings(
        deadline=None,
        max_examples=GIVEN or count,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )
