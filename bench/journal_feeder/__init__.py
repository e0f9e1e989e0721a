"""Journals as a worker writes them, without an agent: `client` has the benchmarks' end, `feeder` is the process."""
