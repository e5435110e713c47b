"""What may be at a port where a server is expected: gRPC with and without TLS, a web server, silence, nothing."""

import http.server
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager

import grpc
from tests.certificates import Authority, Pair
from tests.client.conftest import StubService

from linnaeus.v1.classifier_pb2_grpc import add_ClassifierServiceServicer_to_server

HOSTS = ("127.0.0.1", "localhost")  # the second may have ::1 as well, where nobody listens
AUTHORITY, OTHER_AUTHORITY = Authority(), Authority()


@contextmanager
def grpc_server(pair: Pair | None = None, client_authority: bytes | None = None) -> Iterator[int]:
    with ThreadPoolExecutor(max_workers=2) as threads:
        server = grpc.server(threads, options=[("grpc.so_reuseport", 0)])
        add_ClassifierServiceServicer_to_server(StubService(), server)
        if pair is None:
            port = server.add_insecure_port("127.0.0.1:0")
        else:
            credentials = grpc.ssl_server_credentials(
                [(pair.key, pair.certificate)], client_authority, require_client_auth=client_authority is not None
            )
            port = server.add_secure_port("127.0.0.1:0", credentials)
        server.start()
        yield port
        server.stop(grace=None).wait()


@contextmanager
def web_server() -> Iterator[int]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """Prints nothing into the stderr of the command: a client that speaks no HTTP/1.1 resets the connection."""

    with Server(("127.0.0.1", 0), Quiet) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@contextmanager
def silent_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@contextmanager
def free_port() -> Iterator[int]:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


def tls_server(*names: str, expired: bool = False) -> Callable[[], AbstractContextManager[int]]:
    return lambda: grpc_server(AUTHORITY.issue(*names, expired=expired))
