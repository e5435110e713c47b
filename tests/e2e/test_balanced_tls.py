"""Envoy and nginx reach servers by TLS with what docs/load-balancing.md adds to the shipped files."""

from collections.abc import Callable
from pathlib import Path
from textwrap import indent

import pytest
from tests.certificates import Authority
from tests.e2e.balanced import send
from tests.e2e.forked_server import ForkedServer
from tests.e2e.several_processes import digit
from tests.pages import ROOT, blocks

from benchmarks.balance.balancers import Balance, Change, Listen, Upstream, envoy, nginx
from linnaeus.client import Client, Unavailable

NAME = "linnaeus"


def addition(begins: str, authority: Path) -> str:
    """Returns the block of the page that begins so, with this file for the authority's."""
    page = blocks(ROOT / "docs" / "load-balancing.md")
    return next(each.text for each in page if each.text.startswith(begins)).replace(
        "/etc/linnaeus/ca.pem", str(authority)
    )


def with_tls_for_envoy(authority: Path) -> Change:
    added = indent(addition("transport_socket:", authority), " " * 6)
    return lambda text: text.replace("      load_assignment:\n", f"{added}      load_assignment:\n")


def with_tls_for_nginx(authority: Path) -> Change:
    added = addition("grpc_ssl_trusted_certificate", authority)
    return lambda text: (
        text.replace("\nhttp {\n", f"\nhttp {{\n{added}").replace("grpc://", "grpcs://").replace("http://", "https://")
    )


@pytest.mark.parametrize(
    ("balance", "with_tls"),
    [
        pytest.param(envoy, with_tls_for_envoy, id="envoy", marks=pytest.mark.needs(program="envoy")),
        pytest.param(nginx, with_tls_for_nginx, id="nginx", marks=pytest.mark.needs(program="nginx")),
    ],
)
def test_calls_go_to_servers_by_tls_and_to_no_server_of_another_authority(
    balance: Balance, with_tls: Callable[[Path], Change], repository: Path, socket_folder: Path
) -> None:
    theirs, other = Authority(), Authority()
    certificate, key = theirs.issue(NAME).write(socket_folder)
    tls = ("--tls-certificate", str(certificate), "--tls-key", str(key), "--http-port", "0")
    with ForkedServer("--repository", str(repository), "--models", "lenet", *tls) as server:
        upstream = Upstream(server.port, server.http_port)
        for authority in (theirs, other):
            (socket_folder / "ca.pem").write_bytes(authority.certificate)
            change = with_tls(socket_folder / "ca.pem")
            with (
                balance(socket_folder, [upstream, upstream], Listen.sockets(socket_folder), change) as balancer,
                Client(balancer.target) as client,
            ):
                if authority is theirs:
                    assert client.classify(digit(), model="lenet").model == "lenet"
                    assert send(balancer.listen.http, "/v1/models").status == 200
                else:
                    with pytest.raises(Unavailable):
                        client.classify(digit(), model="lenet")
