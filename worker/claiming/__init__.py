"""From the queue to a run that is this worker's: the claim, and its release. The keeper renews its lease meanwhile."""
