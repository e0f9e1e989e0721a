"""From the queue to a run that is this worker's: the claim, its lease, and the release."""
