"""The rules and the dashboards of deploy/: against the code, against incidents, and against live processes."""
