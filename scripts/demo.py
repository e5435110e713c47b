"""Demonstrates the service: starts a server with two models, and classifies the bundled pictures."""

import subprocess
import sys
from pathlib import Path

from linnaeus.server.rpc.child_server import ServerProcess

PICTURES = Path("pictures")
PICTURES_BY_MODEL = {"efficientnet_lite0": "*.jpg", "lenet": "digits/*.png"}


def main() -> int:
    """Returns the exit code of the first client that fails, or 0."""
    client = str(Path(sys.executable).with_name("linnaeus-client"))
    print("Starting linnaeus-server …", flush=True)
    with ServerProcess("--repository", "model-repository") as server:
        for model, pattern in PICTURES_BY_MODEL.items():
            pictures = [str(path) for path in sorted(PICTURES.glob(pattern))]
            done = subprocess.run([client, "classify", "--server", server.target, "--model", model, *pictures])
            if done.returncode:
                return done.returncode
    print("The server has stopped. `make serve` leaves it running.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
