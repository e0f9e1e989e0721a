"""What is measured: the processes under test, the in-process baseline, peers, and what they use of the machine."""
