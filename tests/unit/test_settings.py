"""The settings: what the environment must hold, how it is read, and that a bad value is told in one line unseen."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from relaykit.shared.errors import SettingsError
from relaykit.shared.settings import Settings, load_settings
from tests.support.system import START_SECONDS

ROOT = Path(__file__).parents[2]
REQUIRED = {
    "REDIS_URL": "redis://:redis-secret@localhost:6379/0",
    "DATABASE_URL": "postgresql://relaykit:database-secret@localhost/relaykit",
    "JWKS_URL": "https://issuer.example/jwks.json",
    "JWT_ISSUER": "https://issuer.example",
    "JWT_AUDIENCE": "relaykit",
}
KEYS = {"FORWARD_TOKEN_KEY": "forward-secret", "ATTACHMENTS_KEY": "attachments-secret-of-32-characters"}


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in REQUIRED.items():
        monkeypatch.setenv(name, value)


def problem(monkeypatch: pytest.MonkeyPatch, **environment: str) -> str:
    """What is said of an environment that is refused."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as refused:
        load_settings()
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__
    return refused.value.message


def test_the_required_settings_are_enough():
    settings = load_settings()
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert settings.chatkit_store == "postgres"
    assert settings.thread_policy == "queue"
    assert settings.jwt_algorithms == ("RS256", "ES256", "EdDSA")
    assert (settings.lease_seconds, settings.run_max_attempts, settings.max_runs) == (10, 3, 100)
    assert settings.cors_origins == ()
    assert settings.forward_token is False
    assert settings.local_issuer_key_file is None


@pytest.mark.parametrize("name", REQUIRED)
@pytest.mark.parametrize("empty", [True, False])
def test_a_required_setting_that_is_missing_or_empty_is_named(monkeypatch, name, empty):
    if not empty:
        monkeypatch.delenv(name)
        told = problem(monkeypatch)
    else:
        told = problem(monkeypatch, **{name: ""})
    others = ", nor are JWT_SECRET and AUTHENTICATE" if name == "JWKS_URL" else ""
    assert told == f"{name}: is not set{others}"


def test_all_that_is_wrong_is_told_at_once(monkeypatch):
    monkeypatch.delenv("JWT_ISSUER")
    told = problem(monkeypatch, PORT="x", LEASE_SECONDS="-1")
    assert [part.split(":")[0] for part in told.split("; ")] == ["JWT_ISSUER", "PORT", "LEASE_SECONDS"]


def test_an_empty_value_counts_as_not_set(monkeypatch):
    monkeypatch.setenv("PORT", "")
    monkeypatch.setenv("CORS_ORIGINS", "")
    assert (load_settings().port, load_settings().cors_origins) == (8000, ())


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("https://a.example", ("https://a.example",)),
        ("https://a.example,https://b.example", ("https://a.example", "https://b.example")),
        (" https://a.example , ,https://b.example, ", ("https://a.example", "https://b.example")),
        (" , ", ()),
    ],
)
def test_a_list_is_separated_by_commas(monkeypatch, given, expected):
    monkeypatch.setenv("CORS_ORIGINS", given)
    assert load_settings().cors_origins == expected


def test_a_list_is_not_json(monkeypatch):
    monkeypatch.setenv("JWT_CONTEXT_CLAIMS", '["roles"]')
    assert load_settings().jwt_context_claims == ('["roles"]',)


def test_an_origin_is_taken_as_a_browser_spells_it(monkeypatch):
    monkeypatch.setenv("CORS_ORIGINS", "HTTPS://A.Example:443/,http://b.example:80,http://c.example:8080,*")
    expected = ("https://a.example", "http://b.example", "http://c.example:8080", "*")
    assert load_settings().cors_origins == expected


@pytest.mark.parametrize(
    "given", ["*/", "a.example", "https://a.example/x", "http://[x", "ftp://a", "https://u@a.example", "null"]
)
def test_what_is_no_origin_is_refused(monkeypatch, given):
    assert problem(monkeypatch, CORS_ORIGINS=given).startswith("CORS_ORIGINS: must be origins like ")


@pytest.mark.parametrize(
    ("claim", "required", "expected"),
    [
        (None, None, False),
        ("", "", False),
        ("tenant", "", True),
        ("org", None, True),
        ("org", "false", False),
        (None, "true", True),
    ],
)
def test_the_tenant_is_required_where_its_claim_is_named(monkeypatch, claim, required, expected):
    for name, value in (("JWT_TENANT_CLAIM", claim), ("JWT_TENANT_REQUIRED", required)):
        if value is not None:
            monkeypatch.setenv(name, value)
    settings = load_settings()
    assert (settings.jwt_tenant_claim, settings.jwt_tenant_required) == (claim or "tenant", expected)


def test_booleans_and_paths(monkeypatch):
    monkeypatch.setenv("FORWARD_TOKEN", "true")
    monkeypatch.setenv("FORWARD_TOKEN_KEY", "k")
    monkeypatch.setenv("APP_DIR", "/srv/app")
    settings = load_settings()
    assert settings.forward_token is True
    assert settings.app_dir == Path("/srv/app")


BAD = [
    ("SUSPECT_PROCESSES", "-1"),
    ("SUSPECT_PROCESSES", "65"),
    ("ISOLATE_RUNS", "sometimes"),
    ("DEPLOYMENT", "Shop"),
    ("DEPLOYMENT", "a:b"),
    ("DEPLOYMENT", "*"),
    ("DEPLOYMENT", "a" * 33),
    ("DEPLOYMENT", "-a"),
    ("DEPLOYMENT", "relaykit"),
    ("DEPLOYMENT", "run"),
    ("REDIS_URL", "http://secret-host:6379"),
    ("REDIS_URL", "redis+sentinel://secret-host:26379"),
    ("REDIS_URL", "redis://secret-host:6379/0?secret=1"),
    ("DATABASE_URL", "mysql://root:secret-password@db/relaykit"),
    ("JWKS_URL", "ftp://secret-host/jwks.json"),
    ("JWT_ALGORITHMS", "HS256-secret"),
    ("JWT_ALGORITHMS", "RS256,none-secret"),
    ("JWT_ALGORITHMS", " , "),
    ("JWT_LEEWAY_SECONDS", "301"),
    ("JWT_LEEWAY_SECONDS", "-1"),
    ("DATABASE_POOL_MIN", "0"),
    ("DATABASE_POOL_MIN", "9999"),
    ("DATABASE_POOL_MAX", "secret"),
    ("DATABASE_TIMEOUT_SECONDS", "0"),
    ("CHATKIT_STORE", "secret-store"),
    ("THREAD_POLICY", "secret-policy"),
    ("FORWARD_TOKEN", "secret-maybe"),
    ("PORT", "65536"),
    ("PORT", "-1"),
    ("PORT", "80.5"),
    ("WORKER_PORT", "65536"),
    ("BLOCKED_SECONDS", "-1"),
    ("BLOCKED_SECONDS", "0.5"),
    ("BLOCKED_SECONDS", "1"),
    ("BLOCKED_SECONDS", "inf"),
    ("MAX_BODY_BYTES", "1023"),
    ("MAX_RUNS", "0"),
    ("LEASE_SECONDS", "0"),
    ("LEASE_SECONDS", "inf"),
    ("LEASE_SECONDS", "nan"),
    ("RUN_TIMEOUT_SECONDS", "inf"),
    ("DRAIN_SECONDS", "inf"),
    ("KEEP_ALIVE_SECONDS", "0"),
    ("KEEP_ALIVE_SECONDS", "inf"),
    ("SHUTDOWN_DELAY_SECONDS", "-1"),
    ("SHUTDOWN_DELAY_SECONDS", "nan"),
    ("DRAIN_SECONDS", "-0.1"),
    ("TOKEN_GRACE_SECONDS", "inf"),
    ("RUN_MAX_ATTEMPTS", "0"),
    ("JOURNAL_TTL_SECONDS", "0"),
    ("JOURNAL_MAX_ENTRIES", "99"),
    ("JOURNAL_MAX_BYTES", "1"),
    ("PING_SECONDS", "ten-secret"),
    ("STALL_SECONDS", "0"),
    ("TAIL_MAX_BYTES", "0"),
    ("ATTACHMENT_MAX_BYTES", "0"),
    ("LOG_LEVEL", "trace-secret"),
    ("LOG_FORMAT", "secret-xml"),
]


@pytest.mark.parametrize(("name", "value"), BAD)
def test_a_bad_value_is_one_line_that_names_the_variable_and_not_the_value(monkeypatch, name, value):
    told = problem(monkeypatch, **{name: value})
    assert name in told
    assert "\n" not in told
    assert "secret" not in told
    assert "Value error" not in told


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"FORWARD_TOKEN": "true"}, "FORWARD_TOKEN_KEY"),
        ({"ATTACHMENTS_URL": "s3://secret-bucket"}, "ATTACHMENTS_KEY"),
        ({"LOCAL_ISSUER_KEY_FILE": "/secret.pem", "HOST": "0.0.0.0"}, "LOCAL_ISSUER_KEY_FILE"),
        ({"DATABASE_POOL_MIN": "20"}, "DATABASE_POOL_MIN"),
    ],
)
def test_settings_that_do_not_go_together_are_told_the_same_way(monkeypatch, given, named):
    told = problem(monkeypatch, **given)
    assert named in told
    assert "\n" not in told
    assert "secret" not in told


def test_the_settings_are_frozen():
    with pytest.raises(ValidationError):
        load_settings().port = 1


def test_no_secret_is_in_a_repr_or_in_an_error(monkeypatch):
    """What a log, a traceback or a debugger may print."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert "secret" not in f"{settings!r} {settings}"
    with pytest.raises(ValidationError) as refused:
        Settings(redis_url="redis-secret", port="port-secret", forward_token_key=("key-secret",))
    assert "secret" not in f"{refused.value!r} {refused.value}"


@pytest.mark.parametrize("module", ["api", "worker"])
def test_a_process_with_a_bad_setting_stops_with_that_line(module):
    """On standard error, with a status that says so, before it opens anything."""
    environment = {
        **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
        **REQUIRED,
        **KEYS,
        "PYTHONPATH": str(ROOT),
        "LEASE_SECONDS": "ten-secret",
    }
    done = subprocess.run(
        [sys.executable, "-m", module],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"relaykit {module}: bad_setting: LEASE_SECONDS: ")
    assert "secret" not in line


def test_texts_of_exceptions_are_logged_in_a_deployment_only_where_that_is_said_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They quote users, and no process knows who reads its log."""
    assert "LOG_EXCEPTIONS=full belongs to local mode" in problem(monkeypatch, LOG_EXCEPTIONS="full")
    monkeypatch.setenv("LOG_EXCEPTIONS", "full-anywhere")
    assert load_settings().log_exceptions == "full-anywhere"


def test_in_local_mode_texts_of_exceptions_may_be_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOG_EXCEPTIONS", "full")
    monkeypatch.setenv("LOCAL_ISSUER_KEY_FILE", "/issuer.pem")
    assert load_settings().log_exceptions == "full"
