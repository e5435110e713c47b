"""Conclusions from measurements: the knee of a ramp, objectives, and the search for a rate."""
