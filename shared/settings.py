"""Every setting of the product, read from the environment once and frozen."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from redis.asyncio.connection import parse_url

from relaykit.shared.errors import SettingsError
from relaykit.shared.setting_problems import sentence

LOOPBACK_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})
ASYMMETRIC_ALGORITHMS = frozenset({"RS256", "ES256", "EdDSA"})
SECRET_HEADERS = frozenset({"authorization", "proxy-authorization", "cookie"})
"""Header fields that CONTEXT_HEADERS may not name."""
MAX_CONTEXT_HEADERS = 20
_HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9a-z]{1,100}")  # RFC 9110, 5.6.2
_DEPLOYMENT_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
NAMES_OF_KEYS = frozenset({"arq", "relaykit", "run"})
"""How the keys of a deployment without a name begin: one so named would be within reach of its Redis user."""

CommaList = Annotated[tuple[str, ...], NoDecode]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Weight = Annotated[float, Field(ge=0.01, le=100, allow_inf_nan=False)]
Weights = Annotated[dict[str, Weight], NoDecode]


class Settings(BaseSettings):
    """One field a variable: the name is the field's in capitals. `.env.example` lists each with default and unit.

    What holds a password or a key is in no repr.
    """

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", env_ignore_empty=True, hide_input_in_errors=True
    )

    # Services
    redis_url: str = Field(repr=False)
    database_url: str = Field(repr=False)
    database_pool_min: int = Field(default=4, ge=1)
    database_pool_max: int = Field(default=16, ge=2)
    database_timeout_seconds: Seconds = 10
    deployment: str = ""

    # The user's server
    chatkit_server: str = "relaykit.examples.assistant:AssistantServer"
    chatkit_store: Literal["postgres", "own"] = "postgres"
    chatkit_context: str | None = None
    context_seconds: Seconds = 10
    context_headers: CommaList = ()
    context_headers_max_bytes: int = Field(default=4096, ge=64)
    app_dir: Path | None = None

    # Identity
    jwks_url: str
    jwt_issuer: str
    jwt_audience: str
    jwt_algorithms: CommaList = ("RS256", "ES256", "EdDSA")
    jwt_tenant_claim: str = "tenant"
    jwt_tenant_required: bool = False
    jwt_tier_claim: str | None = None
    jwt_context_claims: CommaList = ()
    jwt_leeway_seconds: float = Field(default=10, ge=0, le=300)
    jwks_cache_seconds: Seconds = 300
    jwks_cooldown_seconds: Seconds = 10
    jwks_timeout_seconds: Seconds = 5
    forward_token: bool = False
    forward_token_key: str | None = Field(default=None, repr=False)

    # HTTP
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    worker_port: int = Field(default=0, ge=0, le=65535)
    public_url: str | None = None
    cors_origins: CommaList = ()
    max_body_bytes: int = Field(default=1_048_576, ge=1024)
    page_max_bytes: int = Field(default=1024 * 1024, ge=1024)
    max_head_bytes: int = Field(default=65_536, ge=1024)
    max_header_fields: int = Field(default=100, ge=8)
    max_url_bytes: int = Field(default=8_192, ge=256)
    head_seconds: Seconds = 10
    body_bytes_per_second: int = Field(default=1_024, ge=0)
    max_connections: int = Field(default=0, ge=0)
    keep_alive_seconds: Seconds = 75
    shutdown_delay_seconds: float = Field(default=5, ge=0, allow_inf_nan=False)

    # Runs
    max_runs: int = Field(default=100, ge=1)
    suspect_processes: int = Field(default=4, ge=0, le=64)
    isolate_runs: bool = False
    lease_seconds: float = Field(default=10, ge=0.1, allow_inf_nan=False)
    run_max_attempts: int = Field(default=3, ge=1)
    run_timeout_seconds: Seconds = 900
    blocked_seconds: float = Field(default=60, ge=0, allow_inf_nan=False)
    abandon_seconds: float = Field(default=0, ge=0, allow_inf_nan=False)
    drain_seconds: float = Field(default=25, ge=0, allow_inf_nan=False)
    thread_policy: Literal["reject", "queue", "interrupt"] = "queue"
    client_tool_seconds: Seconds = 300

    # Limits; 0 turns one off
    caller_requests_per_minute: int = Field(default=600, ge=0)
    caller_bytes_per_minute: int = Field(default=16 * 1024 * 1024, ge=0)
    caller_max_bodies: int = Field(default=16, ge=0)
    caller_max_runs: int = Field(default=50, ge=0)
    caller_max_streams: int = Field(default=100, ge=0)
    caller_max_unsent_attachments: int = Field(default=50, ge=0)
    caller_max_unsent_bytes: int = Field(default=200 * 1024 * 1024, ge=0)
    queue_max_depth: int = Field(default=10_000, ge=0)
    caller_max_running: int = Field(default=0, ge=0)
    tenant_max_running: int = Field(default=0, ge=0)
    tenant_max_queued: int = Field(default=0, ge=0)
    tenant_requests_per_minute: int = Field(default=0, ge=0)

    # Shares
    tenant_weights: Weights = {}
    tier_weights: Weights = {}
    queue_notice_text: str | None = None
    queue_notice_seconds: Seconds = 3

    # What a request may write
    message_max_parts: int = Field(default=100, ge=1)
    message_max_attachments: int = Field(default=12, ge=1, le=100)
    message_max_bytes: int = Field(default=256 * 1024, ge=1024)
    title_max_chars: int = Field(default=1000, ge=1)
    metadata_max_bytes: int = Field(default=64 * 1024, ge=1024)

    # Retention; 0 keeps for ever
    retention_days: float = Field(default=0, ge=0, allow_inf_nan=False)
    run_retention_days: float = Field(default=30, ge=0, allow_inf_nan=False)

    # Journal
    journal_ttl_seconds: int = Field(default=86_400, ge=1)
    journal_ended_ttl_seconds: int = Field(default=3_600, ge=1)
    journal_max_entries: int = Field(default=100_000, ge=100)
    journal_max_bytes: int = Field(default=32 * 1024 * 1024, ge=64 * 1024)

    # Relay
    ping_seconds: Seconds = 15
    stall_seconds: Seconds = 60
    token_grace_seconds: float = Field(default=300, ge=0, allow_inf_nan=False)
    tail_max_bytes: int = Field(default=256 * 1024, ge=1024)

    # Attachments
    attachments_url: str | None = None
    attachments_key: str | None = Field(default=None, repr=False)
    attachment_max_bytes: int = Field(default=20 * 1024 * 1024, ge=1)
    attachment_mime_types: CommaList = (
        "image/png",
        "image/jpeg",
        "image/gif",
        "image/webp",
        "application/pdf",
        "text/plain",
        "text/markdown",
        "text/csv",
        "application/json",
    )
    attachment_url_seconds: Seconds = 3600
    attachment_preview_seconds: int = Field(default=86_400, ge=60)

    # Logs
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "console"] = "json"
    log_exceptions: Literal["places", "full", "full-anywhere"] = "places"

    # Local mode: the private key of the issuer behind /dev/token. Never set in a deployment.
    local_issuer_key_file: Path | None = None

    @model_validator(mode="before")
    @classmethod
    def _require_the_tenant_that_is_named(cls, values: Any) -> Any:
        """JWT_TENANT_CLAIM, where it is set, says that there are tenants: a token without one is then a mistake."""
        if isinstance(values, dict) and values.get("jwt_tenant_claim"):
            return {"jwt_tenant_required": True, **values}
        return values

    @field_validator(
        "context_headers",
        "jwt_algorithms",
        "jwt_context_claims",
        "cors_origins",
        "attachment_mime_types",
        mode="before",
    )
    @classmethod
    def _split_commas(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("tenant_weights", "tier_weights", mode="before")
    @classmethod
    def _split_weights(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        pairs = [part.rpartition("=") for part in value.split(",") if part.strip()]
        if any(not name.strip() for name, _, _ in pairs):
            raise ValueError("must be name=weight, separated by commas")
        return {name.strip(): weight.strip() for name, _, weight in pairs}

    @field_validator("context_headers")
    @classmethod
    def _context_headers(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        names = tuple(dict.fromkeys(name.lower() for name in value))
        if not SECRET_HEADERS.isdisjoint(names):
            raise ValueError(
                "must not name Authorization, Proxy-Authorization or Cookie, which a run's row would keep in clear;"
                " FORWARD_TOKEN hands the caller's token to the server"
            )
        if not all(_HEADER_NAME.fullmatch(name) for name in names):
            raise ValueError("must be names of header fields, separated by commas")
        if len(names) > MAX_CONTEXT_HEADERS:
            raise ValueError(f"has more than {MAX_CONTEXT_HEADERS} names")
        return names

    @field_validator("deployment")
    @classmethod
    def _deployment_name(cls, value: str) -> str:
        if value and (not _DEPLOYMENT_NAME.fullmatch(value) or value in NAMES_OF_KEYS):
            raise ValueError(
                "must be 1 to 32 of a-z, 0-9, _ and -, the first a letter or a digit, and not arq, relaykit or run"
            )
        return value

    @field_validator("redis_url")
    @classmethod
    def _redis_scheme(cls, value: str) -> str:
        if not value.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("must start with redis://, rediss:// or unix://")
        try:
            parse_url(value)
        except ValueError:  # its text may hold a part of the value
            raise ValueError("is not a Redis URL") from None
        return value

    @field_validator("jwks_url")
    @classmethod
    def _jwks_scheme(cls, value: str) -> str:
        if not value.startswith(("https://", "http://")):
            raise ValueError("must start with https:// or http://")
        return value

    @field_validator("database_url")
    @classmethod
    def _database_scheme(cls, value: str) -> str:
        if not value.startswith(("postgresql://", "postgres://")):
            raise ValueError("must start with postgresql://")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.jwt_algorithms or not ASYMMETRIC_ALGORITHMS.issuperset(self.jwt_algorithms):
            raise ValueError("JWT_ALGORITHMS takes RS256, ES256 and EdDSA, and at least one of them")
        if self.database_pool_min > self.database_pool_max:
            raise ValueError("DATABASE_POOL_MIN is above DATABASE_POOL_MAX")
        if 0 < self.blocked_seconds <= 1:
            raise ValueError(
                "BLOCKED_SECONDS is not above 1, which is when a call that blocks is named; 0: never"
            )
        if 0 < self.abandon_seconds < self.lease_seconds:
            raise ValueError("ABANDON_SECONDS is below LEASE_SECONDS, within which followers are noticed")
        if self.forward_token and not self.forward_token_key:
            raise ValueError("FORWARD_TOKEN needs FORWARD_TOKEN_KEY")
        if self.attachments_url and not self.attachments_key:
            raise ValueError("ATTACHMENTS_URL needs ATTACHMENTS_KEY")
        if self.attachments_key is not None and len(self.attachments_key) < 32:
            raise ValueError("ATTACHMENTS_KEY is shorter than 32 characters")
        if self.local_issuer_key_file and self.host not in LOOPBACK_HOSTS:
            raise ValueError(
                "LOCAL_ISSUER_KEY_FILE belongs to local mode, which listens on loopback only; HOST does not"
            )
        if self.log_exceptions == "full" and not self.local_issuer_key_file:
            raise ValueError(
                "LOG_EXCEPTIONS=full belongs to local mode; a deployment has to say full-anywhere"
            )
        return self


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Reads the environment, over which `environ` goes.

    Raises SettingsError, whose text is one line that names each bad variable and never shows a value.
    """
    try:
        values: dict[str, Any] = {name.lower(): value for name, value in (environ or {}).items() if value}
        return Settings(**{name: value for name, value in values.items() if name in Settings.model_fields})
    except ValidationError as error:
        problems = [sentence(problem) for problem in error.errors(include_input=False, include_url=False)]
        raise SettingsError("; ".join(problems)) from None
