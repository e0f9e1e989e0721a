"""A process: its event loop, its end within a bound, its listening socket, its garbage collector."""
