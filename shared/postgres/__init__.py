"""PostgreSQL: what DATABASE_URL means, connections and their pool, sessions, migrations, functions of the schema."""
