"""A process: its event loop, its end within a bound, its listening socket, its garbage collector.

`main_loop` runs a process's main task and says what ends it, `end` bounds how long that takes, and `exit` leaves the
process; `listener` has the socket, `notify` speaks to a service manager, `gc_tuning` sets the garbage collector.
Imports `log` and `errors` alone.
"""
