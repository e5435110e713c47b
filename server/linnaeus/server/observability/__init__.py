"""Metrics, OpenTelemetry traces, the request log and the log format. Only `app` and `cli` import it."""
