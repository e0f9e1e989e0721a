"""Runs: the one table of their states, and what both sides do with their rows in PostgreSQL.

`run` has the states and what a run is, `rows` the changes of a row, `statements` their SQL; `context` is the request
context in a row, `awaited_calls` and `given_up` are about client tool calls. Each side's own half of the rows is
`api.admission.admission_rows` and `worker.execution.attempt_rows`.
"""
