"""The link between the engine's core and the processes that serve its callers: messages, their transport, both ends."""
