"""Chats through real processes while everything is killed, paused, restarted and cut: `make chaos`."""
