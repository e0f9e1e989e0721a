"""From events to the journal, fenced.

`journal_writer` is one attempt's end of the journal, `coalesce` joins its text deltas, and `publisher` appends the
batches of all runs of the worker in one round trip.
"""
