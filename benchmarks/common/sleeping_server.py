"""`linnaeus-server`, of one process, that can load a model which sleeps (`sleeping_model`)."""

from linnaeus.server.rpc.child_server import ServerProcess


class SleepingServer(ServerProcess):
    """A `ServerProcess` of this module."""

    module = "benchmarks.common.sleeping_server"


def main() -> None:
    """Runs the server."""
    import benchmarks.common.sleeping_model  # noqa: F401  # registers the operator; imports torch
    from linnaeus.server.cli import main as serve

    serve()


if __name__ == "__main__":
    main()
