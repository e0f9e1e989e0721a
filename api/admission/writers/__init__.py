"""Steps 3 and 4 of admission: a request accepted and written. What differs between our store and a foreign one.

`writer` says what a writer promises. `postgres` writes to our store: an ordinary message in one statement, everything
else in one transaction, and what is refused leaves nothing. `foreign` writes for a store that takes nothing back: it
locks, looks, refuses what can be seen, and only then stores. `api/resources.py` chooses the one or the other.
"""
