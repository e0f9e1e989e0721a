"""The operators' console, where OPS_CLAIM is set: who may use it, and what it answers.

Its page in a browser is in `page/`. What it shows and does is in `shared/operating/`, for the operators' commands too.
`console` answers, `cached_answer` keeps what many ask for, `operator_check` says who may ask, `queries` reads the
parameters, `wiring` opens it. Imports `auth` and `shared`; nothing of admission or the relay.
"""
