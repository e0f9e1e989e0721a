"""The parameters of DATABASE_URL: what both drivers can keep of each. docs/operations.md has the same as a table."""

from __future__ import annotations

from typing import Final

TLS: Final[tuple[str, ...]] = (
    "sslmode",
    "sslnegotiation",
    "sslrootcert",
    "sslcrl",
    "sslcert",
    "sslkey",
    "sslpassword",
    "ssl_min_protocol_version",
    "ssl_max_protocol_version",
)
KEEPALIVES: Final = ("keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count")
NUMBERS: Final = ("connect_timeout", *KEEPALIVES, "tcp_user_timeout")
PLAIN: Final = ("user", "password", "dbname", "host", "hostaddr", "port", "passfile", "options", "krbsrvname")
NAMES: Final = ("application_name", "fallback_application_name")

_TLS_VERSIONS: Final = ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
ALLOWED: Final[dict[str, tuple[str, ...]]] = {
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "sslnegotiation": ("postgres", "direct"),
    "ssl_min_protocol_version": _TLS_VERSIONS,
    "ssl_max_protocol_version": _TLS_VERSIONS,
    "channel_binding": ("disable", "prefer", "require"),
    "target_session_attrs": ("any", "read-write", "primary"),
    "gsslib": ("gssapi",),
    # asyncpg has no encryption by GSSAPI, no choice of methods to authenticate by, and no such checks
    "gssencmode": ("disable", "prefer"),
    "sslcertmode": ("allow",),
    "require_auth": (),
    "requirepeer": (),
    "sslcrldir": (),
    "scram_client_key": (),
    "scram_server_key": (),
    "oauth_issuer": (),
    "oauth_client_id": (),
    "oauth_client_secret": (),
    "oauth_scope": (),
    "replication": (),
    # Prisma's
    "schema": ("public",),
    "sslaccept": (),
    "sslidentity": (),
}
"""For each parameter: the values that both drivers can keep. Any other is refused."""

LEFT_OUT: Final[dict[str, str]] = {
    "client_encoding": "it is always UTF-8",
    "gssdelegation": "credentials are not delegated",
    "load_balance_hosts": "hosts are tried in their order",
    "max_protocol_version": "it is the driver's own",
    "min_protocol_version": "it is the driver's own",
    "sslcompression": "TLS is not compressed",
    "sslkeylogfile": "the environment's SSLKEYLOGFILE does it",
    "sslsni": "the host's name is always sent",
    "connection_limit": "DATABASE_POOL_MAX is that",
    "pgbouncer": "a pooler is recognised when a process starts",
    "pool_timeout": "DATABASE_TIMEOUT_SECONDS is that",
    "socket_timeout": "DATABASE_TIMEOUT_SECONDS is that",
    "statement_cache_size": "it is the driver's own",
    "supa": "only Supabase's own clients read it",
    "uselibpqcompat": "only node-postgres reads it",
    "workaround": "only Supabase's own clients read it",
}
"""For each parameter: why nothing is lost without it."""
