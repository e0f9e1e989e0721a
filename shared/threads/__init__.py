"""The store of threads and items, its statements, and how an attempt's writes are taken back.

`store` is the SDK's `Store`; its SQL is in `statements`, and `calls` says as whom and how often PostgreSQL is asked.
The texts of `undo_statements` keep what an attempt writes over, and `undo` takes it back with them. `pages` reads a
page, `timestamps` has the times on the wire. A new statement goes into `statements` and compares tenant and owner.
Imports `postgres`, `identity` and `thread_merge`, and nothing of runs.
"""
