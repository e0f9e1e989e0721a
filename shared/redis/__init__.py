"""Redis: connections, subscriptions, every key, calls of scripts, and what its errors mean."""
