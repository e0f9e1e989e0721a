"""A thread that the site's code cannot block: leases, the watchdog of the loop, probes, the last resort."""
