"""Connections over HTTP: accepted within bounds, kept within bounds, and ended so that the last answer is read."""
