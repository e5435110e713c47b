"""Decodes images to uint8 pixels of the size that a model takes. Must not know gRPC."""
