"""Shows the whole service once: a server, two models, the bundled pictures, a table."""

import subprocess
import sys
from pathlib import Path

from linnaeus.server.rpc.child_server import ServerProcess

PICTURES = Path("pictures")
TOUR = {"efficientnet_lite0": "*.jpg", "lenet": "digits/*.png"}


def main() -> int:
    """Returns the first failing client's exit code, else 0."""
    client = str(Path(sys.executable).with_name("linnaeus-client"))
    print("Starting linnaeus-server …", flush=True)
    with ServerProcess("--repository", "model-repository") as server:
        for model, pattern in TOUR.items():
            pictures = [str(path) for path in sorted(PICTURES.glob(pattern))]
            done = subprocess.run([client, "classify", "--server", server.target, "--model", model, *pictures])
            if done.returncode:
                return done.returncode
    print("The server has stopped. `make serve` leaves it running.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
