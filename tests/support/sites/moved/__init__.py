"""Applications as sites have them, and what docs/migrate.md has them change: `before/`, and `after/` over it."""
