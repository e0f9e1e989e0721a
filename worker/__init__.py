"""The worker: claims runs, executes the site's server for each, and publishes its events to the run's journal.

The way of a run: `claiming` (a lease from `leases`, renewed by `keeper`) -> `execution` (begin the attempt, take back
what the one before left, run the server, end) -> `publishing` (events to the journal). `quarantine` executes what was
lost with its process in processes of its own; `reaper` makes good what crashes leave. `main` wires, `resources` opens.
Imports `relaykit.shared`, never `relaykit.api`.
"""
