"""Clients that behave well, beside attacks on the API that they share: `make siege`."""
