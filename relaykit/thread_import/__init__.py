"""`relaykit import-threads`: the threads of another ChatKit store are copied into ours.

`command` reads the arguments and prints what came of it. `sources` finds the stores to read, `reading` reads a thread
of one of them, whole. `importer` decides for each thread what is to be done and does it, over the statements of `rows`.
`attachments` copies the bytes of a message's files.
"""
