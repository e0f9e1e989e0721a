"""The queue of runs in Redis: jobs, and the fair order in which tenants and callers are served.

`job_queue` is what both sides do with a job; each side's own half is `api.admission.admission_queue` and
`worker.leases.claim_queue`. `fair_share` says whose a run is and what that weighs; `fair_order` names the Lua text of
the order, fair.lua, which stands in front of the scripts of either side.

Also in Redis' queue: the places of requests (`api.limits.request_gate`), leases as the relay sees them
(`api.relay.liveness_probe`), the bell (`worker.claiming.bell`), the audit (`worker.reaper.queue_audit`), the signal to
stop (`worker.resources`) and what operators see and do (`shared.operating`: `operator_queue`, `queue_figures`,
`run_holders`).

Another queue would have to keep this: enqueuing is idempotent by the run's id, and puts the journal's first entries in
the same round trip; a claim has a token and a lease, and a release without the token does nothing; a lapsed lease can
be claimed, and its holder may take it again; renewing one keeps the journal and tells of a stop and of followers; what
was lost together is told; the fair order, with the places and the limits of running runs that are counted in it; a job
that is no run is put aside; and it may be emptied at any time, because the rows fill it again.
"""
