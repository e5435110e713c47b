"""Devices run batches: a pool of workers, and what is done with one that fails."""
