"""Relaykit."""
