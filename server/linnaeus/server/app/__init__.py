"""Wiring: constructs the components of each process from the settings, starts and stops them. Implements none."""
