"""HTTP below the routes: connections and their limits, heads, headers, bodies, refusals, and the one table of errors.

`server` and `uvicorn_protocol` are uvicorn's with a bound for everything that a client can make a process hold.
`errors` turns an error of `relaykit.shared.errors` into a response.
"""
