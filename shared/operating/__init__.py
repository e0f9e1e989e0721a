"""What an operator sees and does: for the command `relaykit`, and for whatever else shows it.

Seen: `queue_figures` has the queue's figures, `run_lists` finds runs, `run_details` has all of one, `run_holders` says
which worker has a run. Done: `acts`. Each act is a row of `audit`, written with it.

Nothing here runs code of the site's. What an operator sees is of every owner, so no route of a caller's may use it.
"""
