"""Finds, loads, replaces and unloads model versions, and keeps the catalog of them. Must not know gRPC."""
