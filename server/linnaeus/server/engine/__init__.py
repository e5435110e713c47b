"""One request's way through the service: resolve, admit, decode, queue, run, hand back. No gRPC."""
