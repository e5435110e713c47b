"""The process itself: cores, signals, limits of the operating system, the event loop. Knows nothing of models."""
