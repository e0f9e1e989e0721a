"""Traces by OpenTelemetry, where `OTEL_*` asks for them: docs/operations.md, "Traces".

`environment` says whether they are asked for, `spans` is what the rest of the code calls, and `otel` is made only where
they are: it alone imports the SDK. `stores` has the calls of a store, `process` the life of it all.
"""
