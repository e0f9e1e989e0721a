"""Redis under the product: what it is asked, command by command, and a client that is cheaper than redis-py."""
