"""The queue of runs in Redis: jobs, claims, and the fair order in which tenants and callers are served."""
