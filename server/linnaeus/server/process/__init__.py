"""The operating-system process: cores, signals, resource limits and the event loop. Independent of models."""
