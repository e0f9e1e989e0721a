"""Authentication: from a bearer token to a verified identity.

`authenticator` verifies the token with a key of `jwks`, which fetches the issuer's `key_set` and keeps it.
"""
