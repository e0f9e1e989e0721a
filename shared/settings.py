"""Every setting of the product, read from the environment once and frozen."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from relaykit.shared.errors import SettingsError
from relaykit.shared.setting_problems import sentence
from relaykit.shared.setting_types import (
    CommaList,
    CookieName,
    DatabaseUrl,
    DeploymentName,
    HeaderNames,
    JwksUrl,
    Origins,
    RedisUrl,
    RuleOfClaim,
    Seconds,
    Secret,
    TokenClaim,
    Weights,
)

LOOPBACK_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})
LOCAL_JWKS_PATH: Final = "/dev/jwks.json"
"""Where local mode's own issuer has its keys."""
ASYMMETRIC_ALGORITHMS = frozenset({"RS256", "ES256", "EdDSA"})


class Settings(BaseSettings):
    """One field a variable: the name is the field's in capitals. `.env.example` lists each with default and unit.

    What holds a password or a key is in no repr.
    """

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", env_ignore_empty=True, hide_input_in_errors=True
    )

    # Services
    redis_url: RedisUrl = Field(repr=False)
    database_url: DatabaseUrl = Field(repr=False)
    database_pool_min: int = Field(default=4, ge=1)
    database_pool_max: int = Field(default=16, ge=2)
    database_timeout_seconds: Seconds = 10
    deployment: DeploymentName = ""

    # The user's server
    chatkit_server: str = "relaykit.examples.assistant:AssistantServer"
    chatkit_store: Literal["postgres", "own"] = "postgres"
    chatkit_context: str | None = None
    chatkit_lifespan: str | None = None
    lifespan_seconds: Seconds = 60
    chatkit_app: str | None = None
    context_seconds: Seconds = 10
    context_headers: HeaderNames = ()
    context_headers_max_bytes: int = Field(default=4096, ge=64)
    app_dir: Path | None = None

    # Identity
    authenticate: str | None = None
    jwt_secret: Secret = Field(default=None, repr=False)
    jwks_url: JwksUrl = Field(default=None, validate_default=True)
    jwt_issuer: TokenClaim = Field(default=None, validate_default=True)
    jwt_audience: TokenClaim = Field(default=None, validate_default=True)
    token_cookie: CookieName = None
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
    ops_claim: RuleOfClaim = None
    ops_content_claim: RuleOfClaim = None

    # HTTP
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    worker_port: int = Field(default=0, ge=0, le=65535)
    public_url: str | None = None
    cors_origins: Origins = ()
    max_body_bytes: int = Field(default=1_048_576, ge=1024)
    websocket_max_bytes: int = Field(default=1_048_576, ge=1024)
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
    pickup_warn_seconds: float = Field(default=30, ge=0, allow_inf_nan=False)

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

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.jwt_algorithms or not ASYMMETRIC_ALGORITHMS.issuperset(self.jwt_algorithms):
            raise ValueError("JWT_ALGORITHMS takes RS256, ES256 and EdDSA, and at least one of them")
        if self.jwt_secret and self.jwt_algorithms != type(self).model_fields["jwt_algorithms"].default:
            raise ValueError("JWT_ALGORITHMS goes with JWKS_URL; with JWT_SECRET it is HS256")
        if self.token_cookie and not self.takes_tokens:
            raise ValueError("TOKEN_COOKIE needs JWKS_URL or JWT_SECRET, which verify the token in it")
        if self.takes_cookies and "*" in self.cors_origins:
            raise ValueError(
                "CORS_ORIGINS names each origin where TOKEN_COOKIE or AUTHENTICATE is set: * is none"
            )
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
        if self.ops_content_claim and not self.ops_claim:
            raise ValueError("OPS_CONTENT_CLAIM needs OPS_CLAIM")
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

    @property
    def takes_tokens(self) -> bool:
        """Whether a caller may come with a token."""
        return self.jwks_url is not None or self.jwt_secret is not None

    @property
    def takes_local_tokens_alone(self) -> bool:
        """Whether all tokens are those of local mode's own issuer, which the site's deployment does not have."""
        is_issuer_local = self.jwks_url is not None and urlsplit(self.jwks_url).path == LOCAL_JWKS_PATH
        return self.local_issuer_key_file is not None and self.jwt_secret is None and is_issuer_local

    @property
    def takes_cookies(self) -> bool:
        """Whether a caller may be known by what a browser sends of itself."""
        return self.token_cookie is not None or self.authenticate is not None


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
