"""The benchmarks: each measure with its baseline beside it, interleaved in one run."""
