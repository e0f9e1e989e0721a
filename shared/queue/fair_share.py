"""Whose turn it is: the flow that a run belongs to, and its weight."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from relaykit.shared.identity import caller_digest
from relaykit.shared.runs.context import request_context
from relaykit.shared.runs.run import Run
from relaykit.shared.settings import Settings


@dataclass(frozen=True, slots=True)
class Flow:
    """A caller of a tenant in the fair order (shared/redis/lua/fair.lua): two digests, and the weight of each."""

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


class Caller(Protocol):
    """A request context, or the identity that it comes from."""

    @property
    def user_id(self) -> str: ...
    @property
    def tenant(self) -> str | None: ...
    @property
    def tier(self) -> str | None: ...


def flow_of(settings: Settings, of: Caller) -> Flow:
    """The flow of a caller's runs.

    The weight is that of TENANT_WEIGHTS for the tenant, else that of TIER_WEIGHTS for the caller's tier, else 1. It is
    the tenant's; callers without a tenant share one, so it is the caller's own there.
    """
    tenant = of.tenant or ""
    weight = settings.tenant_weights.get(tenant, settings.tier_weights.get(of.tier or "", 1.0))
    digest = hashlib.sha256(tenant.encode(errors="surrogatepass")).hexdigest()[:32]
    caller = caller_digest(of.tenant, of.user_id)
    return Flow(digest, caller, weight, 1.0) if tenant else Flow(digest, caller, 1.0, weight)


def flow_of_run(settings: Settings, run: Run) -> Flow:
    return flow_of(settings, request_context(run))


def weighted(limit: int, flow: Flow) -> int:
    """A limit of a tenant, which holds for weight 1, by the tenant's weight; 0 stays no limit."""
    return math.ceil(limit * flow.tenant_weight)


class RunningLimits(NamedTuple):
    """Runs that may be executed at once, times the flow's weight; 0 is no limit."""

    of_tenant: int = 0
    of_caller: int = 0


UNLIMITED = RunningLimits()
