"""The contract `linnaeus.v1` and its generated stubs."""
