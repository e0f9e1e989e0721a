"""What the API and the worker both need, and no more.

`runs` (rows and their transitions), `endings` (how a run ends), `journal` (its entries), `queue` (jobs, the fair
order), `threads` and `attachments` (the store), `site` (the site's server), `redis` and `postgres` (connections),
`process` (loop and end of a process). Imports neither side.
"""
