"""The code of the site's server in an API process: its thread and loop, and which requests need it."""
