"""What one caller, and all of them together, may ask of the API: rates, bytes, places in the queue, open streams.

`request_gate` counts a request in Redis in one round trip, `byte_budget` the bytes of its body, `request_body` reads
that; `caller_limits` has what is counted in this process. A limit for a tenant goes beside that of a caller in
`request_gate`, with its setting in `relaykit.shared.settings` and its error in `relaykit.shared.errors`; rates are also
counted in `local_rates`, while Redis is away, and in the testing kit. How many runs of a tenant execute at once is
counted where they are claimed, in `worker/leases/claim.lua`.
"""
