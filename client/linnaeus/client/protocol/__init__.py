"""The contract's messages: arguments become requests, responses become results, statuses become errors."""
