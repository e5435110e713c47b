"""Metrics, traces, the request log and device gauges. It watches; no other folder imports it."""
