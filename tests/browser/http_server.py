"""Where a server answers HTTP."""

from linnaeus.server.rpc.child_server import ServerProcess


def http_url(server: ServerProcess) -> str:
    """Returns the address of a server's HTTP port, with a slash at its end."""
    return f"http://127.0.0.1:{server.wait_for('listening')['http_port']}/"
