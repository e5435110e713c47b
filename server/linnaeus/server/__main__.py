"""`python -m linnaeus.server` is `linnaeus-server`."""

from linnaeus.server.cli import main

main()
