"""What only local mode mounts: an issuer for the user of this machine, and the demo page.

`issuer` signs tokens for requests from this machine; `page` serves the page, and `page_options` what a server offers on
it. `main` mounts them where LOCAL_ISSUER_KEY_FILE is set. Only `main` imports this room.
"""
