"""Processes of the product, and programs beside it: how they start, and how they die."""
