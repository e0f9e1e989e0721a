"""The operators' console, where OPS_CLAIM is set: who may use it, and what it answers.

Its page in a browser is in `page/`. What it shows and does is in `shared/operating/`, for the operators' commands too.
"""
