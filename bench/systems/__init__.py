"""The processes under test: services, the benchmarks' server, a publisher, and what they use of the machine."""
