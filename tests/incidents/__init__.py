"""The incidents of docs/operations.md, injected into real processes: what shows each, and that nothing else does."""
