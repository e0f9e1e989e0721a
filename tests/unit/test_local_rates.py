"""Rates that one process counts by itself: those of rate_limit.lua."""

from __future__ import annotations

import pytest

from relaykit.api.limits import local_rates
from relaykit.api.limits.local_rates import LocalRates
from relaykit.api.limits.request_gate import Rates
from relaykit.shared.queue.fair_share import Flow

ALICE, BOB = Flow("acme", "alice"), Flow("acme", "bob")


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_quarter_of_a_minute_s_requests_may_come_at_once_and_then_one_an_interval(clock: Clock) -> None:
    rates, each = LocalRates(clock), Rates(of_caller=12)
    assert [rates.spend(ALICE, each) for _ in range(4)] == [(0, 0), (0, 0), (0, 0), (5, 0)]
    clock.now += 5
    assert [rates.spend(ALICE, each) for _ in range(2)] == [(0, 0), (5, 0)]
    assert rates.spend(BOB, each) == (0, 0)


def test_a_request_that_is_refused_costs_neither_the_caller_nor_the_tenant(clock: Clock) -> None:
    rates = LocalRates(clock)
    assert rates.spend(ALICE, Rates(4, 4)) == (0, 0)
    assert rates.spend(BOB, Rates(4, 4)) == (0, 15), "the tenant has had its request"
    assert rates.spend(BOB, Rates(4, 0)) == (0, 0), "and Bob has not"


def test_no_limit_is_none(clock: Clock) -> None:
    rates = LocalRates(clock)
    assert {rates.spend(ALICE, Rates()) for _ in range(100)} == {(0, 0)}


def test_what_is_kept_is_bounded_and_the_one_that_asked_last_is_not_forgotten(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_rates, "MAX_KEPT", 3)
    rates, once = LocalRates(clock), Rates(of_caller=4)
    for number in range(10):
        assert rates.spend(Flow("acme", str(number)), once) == (0, 0)
    assert len(rates._due) == 3
    assert rates.spend(Flow("acme", "9"), once) == (15, 0)
