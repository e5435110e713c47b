"""gRPC: translates between the contract and the engine, and decides nothing."""
