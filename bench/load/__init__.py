"""Load: what it is put on (`targets`), clients in processes of their own, and the rates that are searched for."""
