"""Runs batches on devices: workers, the pool of devices, and the removal of devices that fail."""
