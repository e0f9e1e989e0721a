"""Attachments: their rows, their bytes, signed links to both, and the types of files.

`store` is the SDK's `AttachmentStore`: rows, and links to their bytes, which `links` signs and checks. `objects` takes
and gives the bytes, `removal` removes them, `previews` makes the links of images new, `media_types` knows the type of a
file. Imports `threads`, whose items name attachments, and nothing of runs.
"""
