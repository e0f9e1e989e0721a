"""The identity behind a request, once it is verified."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from relaykit.shared.identity import RequestContext, RequestHeaders
from relaykit.shared.owner import Owner
from relaykit.shared.settings import Settings
from relaykit.shared.text import well_formed_copy


@dataclass(frozen=True, slots=True)
class Identity:
    """A caller whose token was verified, or whom the site's AUTHENTICATE knows."""

    user_id: str
    tenant: str | None
    tier: str | None
    claims: Mapping[str, Any] = field(repr=False)
    token: str = field(repr=False)
    """Empty where the caller came without one."""
    expires_at: float
    """Unix time in seconds from which it counts no longer: of a token its `exp` and JWT_LEEWAY_SECONDS."""

    @property
    def owner(self) -> Owner:
        return Owner.of(self)

    def context(
        self,
        settings: Settings,
        *,
        metadata: Mapping[str, Any],
        locale: str | None,
        request_id: str,
        headers: Mapping[str, str] = RequestHeaders(),
        run_id: str | None = None,
    ) -> RequestContext:
        """The context of one request. The token is in it only with FORWARD_TOKEN.

        The claims are its own copy, of those of JWT_CONTEXT_CLAIMS where there are any. A run's row keeps this context,
        so a worker hands the same to the server. No text of the claims holds half a character, which no row takes.
        """
        kept = settings.jwt_context_claims
        claims = {name: value for name, value in self.claims.items() if not kept or name in kept}
        return RequestContext(
            user_id=self.user_id,
            tenant=self.tenant,
            tier=self.tier,
            claims=well_formed_copy(copy.deepcopy(claims)),
            locale=locale,
            metadata=metadata,
            headers=headers,
            request_id=request_id,
            run_id=run_id,
            bearer_token=(self.token or None) if settings.forward_token else None,
        )
