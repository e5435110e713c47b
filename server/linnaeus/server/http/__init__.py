"""HTTP beside gRPC: the same calls, in JSON and as pictures, and the console."""
