"""Redis: connections, subscriptions, every key, calls of scripts, and what its errors mean.

`client` opens connections, over `sentinels` and `failover` where there are several servers, and turns the driver's
errors into ours; `explain` says what one means; `pubsub` subscribes; `check` notes whose the keys are. A key goes into
`keys`, with its reason and its time to live; a script stands beside its caller, which `scripts` loads. Imports no room
that has keys of its own.
"""
