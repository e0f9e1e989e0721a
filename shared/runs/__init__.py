"""Runs: the one table of their states, their rows in PostgreSQL, and the statements that change these."""
