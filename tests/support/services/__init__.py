"""Redis, PostgreSQL and Prometheus for the tests: a clean piece of a shared server, or one of a test's own."""
