"""The code of the site's server in an API process: its thread and loop, and which requests need it.

`server_loop` runs a call on that loop and gives the answer back on the API's; `site_lifetime` enters and leaves the
site's lifespan there; `loop_watch` finds where the loop stands still; `server_code` says which requests reach code of
the site's at all. A new request that calls a method of the site's goes into `server_code`. Imports `relaykit.shared`
and the API's metrics alone.
"""
