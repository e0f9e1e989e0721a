"""Load: clients in processes of their own, the jobs that they are given, and the rates that are searched for."""
