"""The endpoints: what each takes, which part of the API does the work, and what it answers.

`request` has what all of them ask of a request. Imports every room of the API; no room imports this one.
"""
