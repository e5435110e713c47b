"""The Linnaeus service: models from a repository on disk, served over gRPC in batches.

Imports between folders point downwards only; `tests/test_layers.py` has the order.
"""
