"""The repository as the tests read it: its documents, its schema, its tables of errors and states."""
