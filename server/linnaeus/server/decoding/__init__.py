"""Bytes of an image become uint8 pixels of the size that a model takes. No gRPC."""
