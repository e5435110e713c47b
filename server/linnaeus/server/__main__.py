"""Runs `linnaeus-server` as `python -m linnaeus.server`."""

from linnaeus.server.cli import main

main()
