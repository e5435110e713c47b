"""The Linnaeus service: models from a repository on disk, served over gRPC in batches.

Imports point downwards only: app -> rpc -> engine -> (batching, runtime) -> (errors, config).
"""
