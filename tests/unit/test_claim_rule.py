"""Which claims a setting such as OPS_CLAIM is met by."""

from __future__ import annotations

from typing import Any

import pytest

from relaykit.shared.claim_rule import ClaimRule, claims_that_meet
from relaykit.shared.errors import SettingsError
from relaykit.shared.settings import load_settings

MET: list[tuple[str, dict[str, Any]]] = [
    ("ops", {"ops": True}),
    ("https://shop.example/ops", {"https://shop.example/ops": True}),
    ("role=admin", {"role": "admin"}),
    ("role=admin", {"role": ["user", "admin"]}),
    ("roles=a=b", {"roles": ["a=b"]}),
    ("scope=ops:read", {"scope": "openid ops:read"}),
    ("scp=ops", {"scp": ["ops"]}),
]
NOT_MET: list[tuple[str, dict[str, Any]]] = [
    ("ops", {}),
    *(("ops", {"ops": value}) for value in (False, None, 1, 1.0, "true", "false", "x", [], [True], {"a": 1})),
    ("ops", {"OPS": True}),
    ("role=admin", {}),
    *(
        ("role=admin", {"role": value})
        for value in ("Admin", "admin ", "not admin", "", True, ["x"], {"admin": 1})
    ),
    ("role=true", {"role": True}),
    ("role=1", {"role": [1]}),
    ("scope=ops", {"scope": "ops:read opsx"}),
    ("scope=ops", {"scope": True}),
]


@pytest.mark.parametrize(("rule", "claims"), MET, ids=str)
def test_a_claim_that_meets_it(rule: str, claims: dict[str, Any]) -> None:
    assert ClaimRule.parse(rule).is_met(claims)


@pytest.mark.parametrize(("rule", "claims"), NOT_MET, ids=str)
def test_no_other_claim_does(rule: str, claims: dict[str, Any]) -> None:
    assert not ClaimRule.parse(rule).is_met(claims)


@pytest.mark.parametrize(
    "text", ["", "=", "=x", "ops=", " ops", "ops ", "ops = x", "ops= x", "a\x00b", "a\nb", "x" * 501]
)
def test_what_is_no_rule_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must"):
        ClaimRule.parse(text)


@pytest.mark.parametrize(
    "rules",
    [["ops", "content"], ["ops"], [], ["role=a", "role=b"], ["role=a", "role=a"], ["ops", "scope=x"]],
    ids=str,
)
def test_local_mode_can_meet_what_is_set(rules: list[str]) -> None:
    parsed = list(map(ClaimRule.parse, rules))
    claims = claims_that_meet(parsed)
    assert all(rule.is_met(claims) for rule in parsed)


def test_a_name_with_and_without_a_value_cannot_both_be_met() -> None:
    """One claim has one value: where both settings name it so, the later one counts."""
    claims = claims_that_meet([ClaimRule.parse("ops=x"), ClaimRule.parse("ops")])
    assert claims == {"ops": True}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"OPS_CLAIM": "ops="}, "OPS_CLAIM must be the name of a claim, or name=value"),
        ({"OPS_CLAIM": "ops", "OPS_CONTENT_CLAIM": " x"}, "OPS_CONTENT_CLAIM must"),
        ({"OPS_CONTENT_CLAIM": "ops"}, "OPS_CONTENT_CLAIM needs OPS_CLAIM"),
    ],
    ids=str,
)
def test_a_setting_that_is_no_rule_is_named_in_one_line(given: dict[str, str], said: str) -> None:
    needed = {
        "REDIS_URL": "redis://r",
        "DATABASE_URL": "postgresql://d/d",
        "JWT_SECRET": "s" * 32,
        "JWT_ISSUER": "i",
        "JWT_AUDIENCE": "a",
    }
    with pytest.raises(SettingsError) as error:
        load_settings({**needed, **given})
    assert said in error.value.message.replace(":", "")
    assert "\n" not in error.value.message
