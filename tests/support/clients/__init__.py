"""Clients: of streams, that read slowly or never, that send bytes by hand, and what they show."""
