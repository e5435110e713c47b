"""Why no connection came about, found out at real listeners, whichever way the host is written."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import grpc
import pytest
from tests.client.listeners import (
    AUTHORITY,
    HOSTS,
    OTHER_AUTHORITY,
    free_port,
    grpc_server,
    silent_port,
    tls_server,
    web_server,
)

from linnaeus.client.transport.addresses import parse_addresses
from linnaeus.client.transport.connection_probe import Trouble, find_trouble
from linnaeus.client.transport.tls import Tls

SECONDS = 20.0  # long enough for any machine; only a silent port takes a part of it
TRUSTED = Tls(ca=AUTHORITY.certificate)

CASES = {
    "nothing listens": (free_port, None, Trouble.REFUSED),
    "a web server": (web_server, None, Trouble.WEB_SERVER),
    "a web server, asked by TLS": (web_server, TRUSTED, Trouble.WEB_SERVER),
    "TLS, asked in the clear": (tls_server(*HOSTS), None, Trouble.SPEAKS_TLS),
    "no TLS, asked by TLS": (grpc_server, TRUSTED, Trouble.SPEAKS_NO_TLS),
    "another authority": (tls_server(*HOSTS), Tls(ca=OTHER_AUTHORITY.certificate), Trouble.UNKNOWN_AUTHORITY),
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
