"""Why no connection came about, found out at real listeners, whichever way the host is written."""

import http.server
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import grpc
import pytest
from tests.certificates import Authority, Pair
from tests.client.conftest import StubService

from linnaeus.client.transport.addresses import parse_addresses
from linnaeus.client.transport.connection_probe import Trouble, find_trouble
from linnaeus.client.transport.tls import Tls
from linnaeus.v1.classifier_pb2_grpc import add_ClassifierServiceServicer_to_server

SECONDS = 20.0  # long enough for any machine; only a silent port takes a part of it
HOSTS = ("127.0.0.1", "localhost")  # the second may have ::1 as well, where nobody listens
AUTHORITY, OTHER = Authority(), Authority()
TRUSTED = Tls(ca=AUTHORITY.certificate)


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

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
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


def tls_server(*names: str, expired: bool = False) -> Callable[[], object]:
    return lambda: grpc_server(AUTHORITY.issue(*names, expired=expired))


CASES = {
    "nothing listens": (free_port, None, Trouble.REFUSED),
    "a web server": (web_server, None, Trouble.WEB_SERVER),
    "a web server, asked by TLS": (web_server, TRUSTED, Trouble.WEB_SERVER),
    "TLS, asked in the clear": (tls_server(*HOSTS), None, Trouble.SPEAKS_TLS),
    "no TLS, asked by TLS": (grpc_server, TRUSTED, Trouble.SPEAKS_NO_TLS),
    "another authority": (tls_server(*HOSTS), Tls(ca=OTHER.certificate), Trouble.UNKNOWN_AUTHORITY),
    "another name": (tls_server("linnaeus.example"), TRUSTED, Trouble.WRONG_NAME),
    "expired": (tls_server(*HOSTS, expired=True), TRUSTED, Trouble.EXPIRED),
    "asks for a certificate": (
        lambda: grpc_server(AUTHORITY.issue(*HOSTS), AUTHORITY.certificate),
        TRUSTED,
        Trouble.ASKS_FOR_CERTIFICATE,
    ),
    "all is well": (grpc_server, None, None),
    "all is well, by TLS": (tls_server(*HOSTS), TRUSTED, None),
    "all is well, under another name": (
        tls_server("linnaeus.example"),
        replace(TRUSTED, server_name="linnaeus.example"),
        None,
    ),
}


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize(("listener", "tls", "trouble"), CASES.values(), ids=CASES)
def test_the_cause_is_found_whichever_way_the_host_is_written(listener, tls, trouble, host):
    with listener() as port:
        finding = find_trouble(parse_addresses(f"{host}:{port}"), tls, SECONDS)
    assert (None if finding is None else finding.trouble) == trouble


@pytest.mark.parametrize("tls", [None, TRUSTED])
def test_a_port_that_says_nothing_is_found_within_the_time(tls):
    with silent_port() as port:
        finding = find_trouble(parse_addresses(f"127.0.0.1:{port}"), tls, 0.4)
    assert finding is not None and finding.trouble is Trouble.SILENT


def test_an_unknown_name_and_a_missing_socket_file_are_told_apart(tmp_path):
    unknown = find_trouble(parse_addresses("linnaeus.invalid:8001"), None, SECONDS)
    missing = find_trouble(parse_addresses(f"unix:{tmp_path}/none.sock"), None, SECONDS)
    assert unknown is not None and unknown.trouble is Trouble.UNKNOWN_NAME
    assert missing is not None and missing.trouble is Trouble.NO_SOCKET_FILE


def test_a_server_at_a_socket_file_is_looked_at_too(tmp_path):
    with ThreadPoolExecutor(max_workers=2) as threads:
        server = grpc.server(threads)
        server.add_insecure_port(f"unix:{tmp_path}/s.sock")
        server.start()
        assert find_trouble(parse_addresses(f"unix:{tmp_path}/s.sock"), None, SECONDS) is None
        server.stop(grace=None).wait()


def test_of_several_servers_one_that_answers_is_enough():
    with free_port() as closed, grpc_server() as port:
        addresses = parse_addresses([f"127.0.0.1:{closed}", f"127.0.0.1:{port}"])
        assert find_trouble(addresses, None, SECONDS) is None
