"""Admission: from the body of a request to a run that is queued, or to an error with nothing written.

`relaykit.api.limits` counts the request and pays for its bytes -> `parse` -> `request_intake` checks what is asked ->
`idempotency` finds the run that an earlier request has made -> `admission` writes the row (`admission_rows`), then
publishes the first entries of the journal and the job (`admission_queue`). A new reason to refuse a message goes into
`request_intake` or, where it is about how much, into `relaykit.api.limits`, with its error in `relaykit.shared.errors`
and its status in `api/http/errors.py`.
"""
