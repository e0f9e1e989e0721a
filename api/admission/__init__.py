"""Admission: from the body of a request to a run that is queued, or to an error with nothing written.

Before it `relaykit.api.limits` counts the request and pays for its bytes, and `parse` makes a ChatKit request of the
body. Then `Admission.submit` takes five steps:

1. Find a repeat. `idempotency` knows the run that the same request has made before.
2. Refuse what is not to be accepted: the queue is full.
3. Accept the request. `request_intake` checks it against its thread and does the first half of what the SDK would do;
   `candidate` makes the run's row and its first events of that.
4. Write the message and the row. `writers` has one writer for our store and one for a foreign store; the statements are
   those of `admission_rows`.
5. Publish: the journal's first entries, and the job, by `admission_queue`.

A new reason to refuse a message belongs to the module that knows what it depends on:

- the body alone: `parse`, or `written_sizes` for a size;
- how much a caller or a tenant asks for: `relaykit.api.limits`;
- the thread, its items, an attachment: the request's case in `request_intake`. Most messages are checked there before
  the statement that writes them, so such a check is not exact; `refuse_unless_newest` of `writers/writer` is, under
  the thread's lock;
- the runs that there are: the function of the schema that writes the row, `admit_run`, because only there it holds
  under simultaneous posts. It is a migration (CONTRIBUTING.md): the function and `admit_message`, which calls it, get
  new names, and with them the statements ADMIT and ADMIT_MESSAGE and the stand-ins of the testing kit.
  `admission_rows` makes an error of its outcome, and `writers/foreign` asks before it writes a message.

CONTRIBUTING.md says what else an error needs, under "An error code".
"""
