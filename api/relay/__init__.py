"""The relay: follows each run once for all clients of this process, and writes its entries as server-sent events.

The way of an entry: journal (Redis) -> notice -> `hub` reads it once -> `tail`, in memory, shared -> `subscription` of
each client -> `sse` makes a frame -> `streams` writes it. `liveness` looks after runs that have gone quiet, and asks
`liveness_probe` for them. A client that comes back begins at its cursor. Imports no admission: it knows runs by their
id and their journal alone.
"""
