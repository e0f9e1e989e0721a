"""From events to the journal: `coalesce` joins text deltas, `publisher` appends them in batches, fenced."""
