"""The API: authenticates a request, admits it, and relays the run's journal to its clients.

The way of a message: `routes.chatkit` -> `auth` (who asks) -> `admission` (parse, check, write, queue) ->
`routes.streaming` -> `relay` (journal to server-sent events). A request that becomes no run goes to `unstreamed`
instead. `main` wires, `resources` opens what the routes use, `site` runs the code of the site's server on a loop of its
own. Imports `relaykit.shared`, never `relaykit.worker`.
"""
