"""Start-time fair queueing on two levels, as its paper defines it, for comparison with shared/queue/fair.lua."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from relaykit.shared.queue.fair_share import Flow


@dataclass
class Child:
    """One of the flows that share the slots of their parent. `tag` is its start tag."""

    weight: float = 1.0
    tag: float = 0.0
    running: int = 0
    was_eligible: bool = False


@dataclass
class Caller(Child):
    jobs: list[str] = field(default_factory=list)


@dataclass
class Tenant(Child):
    clock: float = 0.0
    callers: dict[str, Caller] = field(default_factory=dict)

    @property
    def is_idle(self) -> bool:
        return not self.running and not any(caller.jobs for caller in self.callers.values())


@dataclass
class Order:
    """Which job is next. A limit holds times the flow's weight; 0 is none."""

    tenant_limit: int
    caller_limit: int
    clock: float = 0.0
    tenants: dict[str, Tenant] = field(default_factory=dict)

    def add(self, flow: Flow, job: str) -> None:
        tenant = self.tenants.setdefault(flow.tenant, Tenant())
        caller = tenant.callers.setdefault(flow.caller, Caller())
        tenant.weight, caller.weight = flow.tenant_weight, flow.caller_weight
        caller.jobs.append(job)
        self._settle()

    def next(self) -> tuple[str, Flow] | None:
        """Takes the next job. None where no flow may be served."""
        ready = [(tenant.tag, name) for name, tenant in self.tenants.items() if self._may_serve(tenant)]
        if not ready:
            return None
        _, tenant_name = min(ready)
        tenant = self.tenants[tenant_name]
        _, caller_name = min(
            (caller.tag, name) for name, caller in tenant.callers.items() if self._has_turn(caller)
        )
        caller = tenant.callers[caller_name]
        for child in (caller, tenant):
            child.running += 1
        tenant.clock, self.clock = caller.tag, tenant.tag
        caller.tag += 1 / caller.weight
        tenant.tag += 1 / tenant.weight
        job = caller.jobs.pop(0)
        self._settle()
        return job, Flow(tenant_name, caller_name)

    def remove(self, flow: Flow, job: str) -> None:
        self.tenants[flow.tenant].callers[flow.caller].jobs.remove(job)
        self._settle()

    def end(self, flow: Flow) -> None:
        tenant = self.tenants[flow.tenant]
        tenant.running -= 1
        tenant.callers[flow.caller].running -= 1
        self._settle()

    def _has_turn(self, caller: Caller) -> bool:
        return bool(caller.jobs) and _is_below(caller, self.caller_limit)

    def _may_serve(self, tenant: Tenant) -> bool:
        return _is_below(tenant, self.tenant_limit) and any(
            self._has_turn(caller) for caller in tenant.callers.values()
        )

    def _settle(self) -> None:
        """A flow that may be served again has no claim on the time in which it could not be."""
        for tenant in self.tenants.values():
            if tenant.is_idle:  # what it has had is remembered by its own tag
                tenant.clock, tenant.callers = 0.0, {}
        for child, eligible, clock in self._children():
            if eligible and not child.was_eligible:
                child.tag = max(child.tag, clock)
            child.was_eligible = eligible

    def _children(self) -> Iterator[tuple[Child, bool, float]]:
        for tenant in self.tenants.values():
            for caller in tenant.callers.values():
                yield caller, self._has_turn(caller), tenant.clock
            yield tenant, self._may_serve(tenant), self.clock


def _is_below(child: Child, limit: int) -> bool:
    return limit == 0 or child.running < math.ceil(limit * child.weight)
