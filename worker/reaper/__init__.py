"""What a crash or a lost Redis has left is made good, and what is old is deleted, by one worker at a time.

`reaper` makes the rounds; `sweeps` reads and deletes rows, `queue_audit` compares the queue with them.
"""
