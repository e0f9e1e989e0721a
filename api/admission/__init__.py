"""Admission: from the body of a request to a run that is queued, or to an error with nothing written.

`request_body` (api/http) pays for the bytes -> `parse` -> `request_gate` counts the request -> `request_intake` checks
what is asked -> `idempotency` finds the run that an earlier request has made -> `admission` writes the rows, the first
entries of the journal and the job. A new reason to refuse a message goes into `request_intake` (what is asked) or
`limits` (how much of it), with its error in `relaykit.shared.errors` and its status in `api/http/errors.py`.
"""
