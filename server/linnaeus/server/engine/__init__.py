"""The life of a request: resolve the version, admit, decode, queue, run, answer. No gRPC."""
