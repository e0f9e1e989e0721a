"""A thread that the site's code cannot block.

`keeper` runs it: the `heartbeat` of the leases, the `watchdog` of the worker's loop, the probes (`probe_server`,
`health`), and the `last_resort`, which ends a process that nothing else can end.
"""
