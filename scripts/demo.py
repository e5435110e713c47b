"""Demonstrates the service: starts a server with two models, and classifies the bundled pictures."""

import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

from linnaeus.server.rpc.child_server import ServerProcess

PICTURES = Path("pictures")
PICTURES_BY_MODEL = {"efficientnet_lite0": "*.jpg", "lenet": "digits/*.png"}


def main() -> int:
    """Returns the exit code of the first client that fails, or 0."""
    client = str(Path(sys.executable).with_name("linnaeus-client"))
    print("Starting linnaeus-server …", flush=True)
    with ServerProcess("--repository", "model-repository", "--http-port", "0") as server:
        for model, pattern in PICTURES_BY_MODEL.items():
            pictures = [str(path) for path in sorted(PICTURES.glob(pattern))]
            done = subprocess.run([client, "classify", "--server", server.target, "--model", model, *pictures])
            if done.returncode:
                return done.returncode
        with urlopen(f"http://127.0.0.1:{server.http_port}/", timeout=60) as answer:
            print(f"By HTTP there is a page, too, of {len(answer.read())} bytes: {answer.url}")
    print("The server has stopped. `make serve` leaves it running, with its console at http://localhost:8000/.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
