"""The flow that a run belongs to, and its weight."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

from relaykit.shared.owner import Owner
from relaykit.shared.runs.context import request_context
from relaykit.shared.runs.run import Run
from relaykit.shared.settings import Settings


@dataclass(frozen=True, slots=True)
class Flow:
    """A caller of a tenant in the fair order (shared/queue/fair.lua): two digests, and the weight of each."""

    tenant: str
    caller: str
    tenant_weight: float = 1.0
    """The tenant's weight, relative to the other tenants."""
    caller_weight: float = 1.0
    """The caller's weight, relative to the other callers of the tenant."""

    @property
    def path(self) -> str:
        return f"{self.tenant}:{self.caller}"


UNKNOWN_FLOW = Flow("-", "-")
"""The flow of jobs whose owner is not known: the release before queues them without a flow."""


def flow_of(settings: Settings, owner: Owner, tier: str | None) -> Flow:
    """The flow of an owner's runs. `tier` is the one of their token.

    The weight is that of TENANT_WEIGHTS for the tenant, else that of TIER_WEIGHTS for the caller's tier, else 1. It is
    the weight of the tenant, or of the caller where there is no tenant.
    """
    weight = settings.tenant_weights.get(owner.tenant, settings.tier_weights.get(tier or "", 1.0))
    digest = hashlib.sha256(owner.tenant.encode(errors="surrogatepass")).hexdigest()[:32]
    return (
        Flow(digest, owner.digest, weight, 1.0) if owner.tenant else Flow(digest, owner.digest, 1.0, weight)
    )


def flow_of_run(settings: Settings, run: Run) -> Flow:
    return flow_of(settings, run.owner, request_context(run).tier)


def weighted(limit: int, flow: Flow) -> int:
    """A tenant's limit times its weight, rounded up; 0 is no limit."""
    return math.ceil(limit * flow.tenant_weight)
