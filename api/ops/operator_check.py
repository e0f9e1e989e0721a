"""Who may use the console: a verified caller with the claim of OPS_CLAIM, from the console's own page or a program."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.datastructures import Headers

from relaykit.api.auth.cross_site import CrossSiteCheck
from relaykit.api.auth.identity import Identity
from relaykit.shared.claim_rule import ClaimRule
from relaykit.shared.errors import ContentForbidden, Forbidden
from relaykit.shared.operating.actor_names import BY_CONSOLE


@dataclass(frozen=True, slots=True)
class OperatorCheck:
    operators: ClaimRule
    content: ClaimRule | None
    """What a caller needs besides, to see what was written; None: no caller sees it."""
    cross_site: CrossSiteCheck
    """Knows no origins but the API's own: what the console shows is not for the pages of CORS_ORIGINS."""

    def check_origin(self, headers: Headers) -> None:
        """Whatever the method, because here a GET shows other users' rows. Raises CrossSiteRequest."""
        self.cross_site.check("POST", headers)

    def check(self, identity: Identity) -> None:
        """Raises Forbidden."""
        if not self.operators.is_met(identity.claims):
            raise Forbidden

    def sees_content(self, identity: Identity) -> bool:
        return self.content is not None and self.content.is_met(identity.claims)

    def check_content(self, identity: Identity) -> None:
        """Raises ContentForbidden."""
        if not self.sees_content(identity):
            raise ContentForbidden


def actor(identity: Identity) -> str:
    """Who acts, for the audit: `tenant/user (console)`, in which a `/` of either and `%` are percent-encoded.

    Only the console writes a name of this form, because it has verified it.
    """
    parts = [part for part in (identity.tenant, identity.user_id) if part is not None]
    return f"{'/'.join(part.replace('%', '%25').replace('/', '%2F') for part in parts)}{BY_CONSOLE}"
