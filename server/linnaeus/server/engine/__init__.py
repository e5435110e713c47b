"""Carries a request from arrival to answer: resolve the version, admit, decode, queue, run. Must not know gRPC."""
