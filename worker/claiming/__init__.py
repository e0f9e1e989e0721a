"""From the queue to a run that this worker executes, and back. The keeper renews its lease meanwhile.

`arq_worker` is arq's frame: it waits for the `bell`, claims through `worker.leases.claim_queue`, has the executor or
the quarantine execute the run, and releases the claim. What becomes of a claim is decided in `ArqWorker._run`.
"""
