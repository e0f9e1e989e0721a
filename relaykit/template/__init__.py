"""`relaykit new`: a folder with a server, a page, a test and settings to begin from. `files` has what is written.

A file's name there lacks the leading dot, where it has one, and ends in `.in`.
"""
