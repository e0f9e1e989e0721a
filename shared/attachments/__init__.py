"""Attachments: their rows, their bytes, signed links to both, and the types of files."""
