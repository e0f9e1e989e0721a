"""The queue of runs in Redis: jobs, and the fair order in which tenants and callers are served.

`job_queue` is what both sides do with a job; each side's own half is `api.admission.admission_queue` and
`worker.leases.claim_queue`. `fair_share` says whose a run is and what that weighs; `fair_order` names the Lua text of
the order, fair.lua, which stands in front of the scripts of either side.

Also in Redis' queue: the places of requests (`api.limits.request_gate`), leases as the relay sees them
(`api.relay.liveness_probe`), the bell (`worker.claiming.bell`), the audit (`worker.reaper.queue_audit`) and the signal
to stop (`worker.resources`). Another queue would have to keep this: enqueuing is idempotent by the run's id; a claim
has a token and a lease, and a release without the token does nothing; a lapsed lease can be claimed, and its holder may
take it again; what was lost together is told; the fair order, with the places that are counted in it; and it may be
emptied at any time, because the rows fill it again.
"""
