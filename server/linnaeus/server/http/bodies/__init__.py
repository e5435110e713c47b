"""Bodies of requests: bounded, read strictly, and made into the messages of the contract."""
