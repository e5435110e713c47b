"""`linnaeus-server` that can load a model which sleeps."""

import benchmarks.ray.sleeping_model  # noqa: F401  # registers its operator
from linnaeus.server.cli import main

if __name__ == "__main__":
    main()
