"""What a worker does with jobs: it claims them, which gives it leases, renews these, and releases them.

`claims` says what a claim, a renewal and a loss are; `claim_queue` is the only place that asks Redis for them, with
claim.lua, renew.lua and release.lua; `foreign_jobs` logs the jobs that are no runs of ours. When a worker claims is the
matter of `claiming`, when it renews that of `keeper`. Imports no other room of the worker.
"""
