"""What the tests share: a whole Relaykit (`system`), real services, clients, links that cut, processes that die.

`servers` has the ChatKit servers that the tests run. Nothing here is a test.
"""
