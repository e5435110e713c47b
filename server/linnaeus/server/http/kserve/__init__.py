"""KServe v2 over HTTP, with the binary tensors of Triton: JSON becomes the messages that gRPC's callers send."""
