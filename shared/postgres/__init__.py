"""PostgreSQL: what DATABASE_URL means, connections and their pool, sessions, migrations, functions of the schema.

The way of a statement: `database` gives a `connection` of its `pool`, whose `sessions` are opened from what
`database_url`, `database_parameters` and `conninfo` have read; `pooler` and `durability` warn of a server that cannot
keep its word. `locks` has every lock. A statement stands where it is executed, not here. `migrate` applies
`migrations/`; `functions/` is the readable source of what they create. Imports no room that has statements.
"""
