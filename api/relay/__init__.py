"""The relay: follows each run once for all clients of this process, and writes its entries as server-sent events.

The way of an entry:

    journal             a stream in Redis; the worker's append also publishes a notice, with the entry where it is short
      │
    hub.py              _on_message: takes the notice; where an entry is missing before it, reads the journal from the
      │                 last known entry on, together with those of all other runs that have news
    followed_run.py     take: one a run and process, with its states; wakes the streams
      ├── tail.py       extend: the newest entries in memory, as frames
      │    └── sse.py   encode: an entry becomes a frame, once for all clients
    subscription.py     ready: one a client; its cursor into the tail, or, behind the tail, into the journal
      │
    stream.py           _send_ready: all that is ready in one write; also pings, and why a stream closes
      │
    the response        response.py sends its head, and detaches the rest from the layers of the request

A client that comes again begins at its cursor. `liveness.py` looks after runs that have gone quiet, and asks
`liveness_probe.py` for them. `states.py` has the states of a followed run and of a stream, as tables. A new kind of
entry goes into `Field` of shared/journal/journals.py, with its bytes in `sse.py`; a new reason to close a stream into
`stream.py`.

The relay imports no admission: it knows runs by their id and their journal alone.
"""
