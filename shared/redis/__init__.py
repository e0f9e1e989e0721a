"""Redis: connections, subscriptions, every key, the scripts, and what its errors mean."""
