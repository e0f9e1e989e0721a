"""One run under its claim: `executor` begins, executes and ends the attempt; `attempt` runs the server.

`rewind` takes back what the attempts before have left, `restore` writes admission's entries again where the journal was
lost, `server_events` and `item_ids` prepare the server's events for the SDK, `stop` says why an attempt ends early, and
`persist` gets done through outages what must get done. A new event that the worker itself writes goes to `executor`.
"""
