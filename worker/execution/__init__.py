"""One run under its claim, in steps over one state: start, fence, rewind, prepare, produce, settle.

`executor` has the sequence and the steps that are calls of services; `attempt` is the state that they share, with its
stop. `prepare` loads what the server is called with, `produce` runs the server, `verdict` decides what the attempt has
come to. `rewind` takes back what the attempts before have left, `restore` writes admission's entries again where the
journal was lost. `server_events` and `item_ids` prepare the server's events for the SDK, `cancel_handler` says what is
kept of a stopped answer, and `persist` gets done through outages what must get done. `current_attempt` finds a task's
attempt where the SDK calls our store, or a method of the server, and `pending_call` the client tool call that a run
ends with. A new event that the worker itself writes goes to `executor`, and a new reason to stop to `stop` and the
table in `verdict`.
"""
