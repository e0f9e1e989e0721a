"""What the tests share: a whole Relaykit (`system`), real services, clients, links that cut, processes that die.

Nothing here is a test. The rooms: `processes` and the `services` beside them, the `network` between them, `clients`,
`servers` (the ChatKit servers that the tests run) and the `sites` around such servers, `endpoints` (what stands in for
the internet), and `repository` (its documents and its schema as the tests read them).
"""
