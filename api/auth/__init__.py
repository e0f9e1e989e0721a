"""Authentication: from a request to a verified identity.

`request_authenticator` decides by what: a token in the Authorization header or in a cookie, which `authenticator`
verifies with a key of `jwks` (which fetches the issuer's `key_set` and keeps it) or of `shared_secret`; or the site's
own AUTHENTICATE, which `hook` asks. `cross_site` refuses what another site makes a browser send.
"""
