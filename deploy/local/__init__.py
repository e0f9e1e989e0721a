"""Local mode: all of Relaykit on one machine, for a person who develops a site.

`supervisor` starts the `services`, then the `fleet` of API and worker processes, which `standby` forks and `forks`
knows. A saved file reaches it through `file_changes`; `Fleet.reload` has a new process forked, and stops the old one
once `readiness` says that the new one is ready. `terminal` shows what they write. A new process is a `Role` of the
supervisor; a new service goes into `services`, a new setting into `local_settings` and `relaykit.command_help`.
"""
