"""What the environment says to the assistant."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from agents.models import get_default_model

CHECKOUT = Path(__file__).resolve().parents[2]
INSTALLED = Path(__file__).parent / "site"
"""Where a wheel has README.md and docs/."""
DEFAULT_DELTA_MS = 20.0
DEFAULT_TRANSCRIPTION_MODEL = "gpt-4o-mini-transcribe"
MAX_MODELS = 10
CALLER_ARGUMENTS = frozenset({"access_token", "tenant", "user_id"})
"""What tools of an MCP server may want to be told of the caller."""
LOOPBACK_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True, slots=True, kw_only=True)
class AssistantSettings:
    """With neither a key nor a base URL the model is the scripted one."""

    api_key: str | None = field(default=None, repr=False)
    base_url: str | None = None
    model: str = ""
    models: tuple[str, ...] = ()
    """What the user may choose instead, where there is a real model."""
    transcription_model: str = DEFAULT_TRANSCRIPTION_MODEL
    delta_ms: float = DEFAULT_DELTA_MS
    """Between two deltas of the scripted model."""
    docs_dir: Path = CHECKOUT
    """Holds README.md and docs/."""
    docs_url: str | None = None
    """Where the site serves docs_dir, if it does; sources are links then."""
    mcp_url: str | None = None
    mcp_caller_arguments: frozenset[str] = frozenset()
    """Arguments of the MCP server's tools that are filled in for the caller and hidden from the model."""

    @property
    def has_real_model(self) -> bool:
        return bool(self.api_key or self.base_url)

    @property
    def exports_traces(self) -> bool:
        """Only a key of OpenAI's own service may send traces there: they hold what the user wrote."""
        return bool(self.api_key) and not self.base_url

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Raises ValueError, which names the variable and never shows its value."""
        return cls(
            api_key=environment.get("OPENAI_API_KEY") or None,
            base_url=environment.get("OPENAI_BASE_URL") or None,
            model=environment.get("OPENAI_MODEL") or get_default_model(),
            models=_models(environment.get("ASSISTANT_MODELS")),
            transcription_model=environment.get("ASSISTANT_TRANSCRIPTION_MODEL")
            or DEFAULT_TRANSCRIPTION_MODEL,
            delta_ms=_delta_ms(environment.get("ASSISTANT_DELTA_MS")),
            docs_dir=Path(
                environment.get("ASSISTANT_DOCS_DIR") or (INSTALLED if INSTALLED.is_dir() else CHECKOUT)
            ),
            docs_url=environment.get("ASSISTANT_DOCS_URL") or None,
            mcp_url=_mcp_url(environment.get("ASSISTANT_MCP_URL")),
            mcp_caller_arguments=_caller_arguments(environment.get("ASSISTANT_MCP_CALLER_ARGUMENTS")),
        )


def _delta_ms(value: str | None) -> float:
    if not value:
        return DEFAULT_DELTA_MS
    try:
        milliseconds = float(value)
    except ValueError:
        milliseconds = -1.0
    if not 0 <= milliseconds <= 10_000:
        raise ValueError("ASSISTANT_DELTA_MS must be milliseconds from 0 to 10000")
    return milliseconds


def _models(value: str | None) -> tuple[str, ...]:
    names = dict.fromkeys(name.strip() for name in (value or "").split(",") if name.strip())
    if len(names) > MAX_MODELS:
        raise ValueError(f"ASSISTANT_MODELS takes at most {MAX_MODELS} names")
    return tuple(names)


def _caller_arguments(value: str | None) -> frozenset[str]:
    names = frozenset(name.strip() for name in (value or "").split(",") if name.strip())
    if not names <= CALLER_ARGUMENTS:
        raise ValueError(f"ASSISTANT_MCP_CALLER_ARGUMENTS takes {', '.join(sorted(CALLER_ARGUMENTS))}")
    return names


def _mcp_url(value: str | None) -> str | None:
    """The caller's token goes to this address, so it goes encrypted or stays on the machine."""
    if not value:
        return None
    parts = urlsplit(value)
    if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK_HOSTS):
        return value
    raise ValueError("ASSISTANT_MCP_URL must be https, or http on loopback")
