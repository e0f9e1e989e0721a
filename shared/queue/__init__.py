"""The queue of runs in Redis: jobs, and the fair order in which tenants and callers are served.

`job_queue` is what both sides do with a job; each side's own half is `api.admission.admission_queue` and
`worker.leases.claim_queue`. `fair_share` says whose a run is and what that weighs; `fair_order` names the Lua text of
the order, fair.lua, which stands in front of the scripts of either side.
"""
