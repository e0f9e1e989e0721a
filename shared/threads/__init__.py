"""The store of threads and items, its statements, and how an attempt's writes are taken back."""
