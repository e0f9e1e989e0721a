"""What an attempt tells of itself: metrics, a trace, and the fields of its log lines. Nothing here decides anything.

`figures` counts an attempt for the metrics, `attempt_trace` and `model_spans` trace it and its model calls,
`model_calls` and `model_usage` count those calls and their tokens, and `tell_end` says all of it once an attempt has
ended. `log_fields` is what each log line of an attempt says of its run. It may read `attempt` and `verdict`; of the
steps only `executor` calls it.
"""
