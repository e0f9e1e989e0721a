"""One run under its claim, in steps over one state: start, fence, rewind, prepare, produce, settle.

`executor` has the sequence and the steps that are calls of services; `attempt` is the state that they share, with its
stop. `prepare` loads what the server is called with, `produce` runs the server, `verdict` decides what the attempt has
come to. `rewind` takes back what the attempts before have left, `restore` writes admission's entries again where the
journal was lost. `server_events` and `item_ids` prepare the server's events for the SDK, `cancel_handler` says what is
kept of a stopped answer, and `persist` gets done through outages what must get done. `current_attempt` finds a task's
attempt where the SDK calls our store, or a method of the server; `current_run` tells the site's code the same of its
run. `pending_call` finds the client tool call that a run ends with. `attempts_left` says whether there may be another
one, `mistakes` finds events that no client can draw, `left_generators` closes what a stopped server leaves open, and
`time_slice` lets others run beside a server that never waits. `telemetry/` has metrics, traces and log fields, and
decides nothing. A new event that the worker itself writes goes to `executor`, or to the module whose step it tells of:
`prepare` before the server, `restore` and `rewind` before that, `server_events` beside the server's own. A new reason
to stop goes to `stop` and the table in `verdict`.
"""
