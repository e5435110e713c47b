"""The gRPC layer: translates between the contract and the engine. Makes no scheduling or model decisions."""
