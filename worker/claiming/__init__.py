"""From the queue to a run that this worker executes, and back. The keeper renews its lease meanwhile."""
