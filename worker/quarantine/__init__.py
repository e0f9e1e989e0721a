"""The quarantine: suspects are executed in processes of their own, apart from the runs that they were lost with.

A suspect is a run whose last attempt was lost with its process, or which its process has named as its fault. Any of the
runs that were lost together may have killed the process; executed together again they would do so again.

    queue ──► worker: claim ──┬── no suspect ─────────────────► its own loop
                              └── suspect ──► Quarantine ──┬──► cell   a process, one socket to the worker
                                              assignment   ├──► cell
                                                           └──► …      SUSPECT_PROCESSES at most

With ISOLATE_RUNS every run goes to a cell of its own, of which there may be MAX_RUNS.

`assignment` decides which cell a run goes to. `fork_server` makes the cells' processes: it is forked before the
worker has threads, a loop or the user's server, so that a cell is there within milliseconds. `cell` is the worker's end
of one, `cell_process` the process itself, `last_place` the memory in which it notes where its code stands.
"""
