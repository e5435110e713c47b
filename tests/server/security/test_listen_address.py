"""Servers listen on IPv4, on IPv6, on both and on socket files; what cannot be listened on is said in a sentence."""

import socket
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from linnaeus.server.config.settings import read_settings
from linnaeus.server.errors import StartupError
from linnaeus.server.security import listen_address
from linnaeus.server.security.listen_address import Address, accept_ipv4_too, bindable_host, listen

LOOPBACKS = ["127.0.0.1", *(["::1"] if bindable_host("::") == "::" else [])]
PATIENCE_SECONDS = 60


def new_server() -> grpc.aio.Server:
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)
    return server


async def answers(target: str) -> bool:
    async with grpc.aio.insecure_channel(target) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        reply = await stub.Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE_SECONDS, wait_for_ready=True)
        return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)


@pytest.mark.parametrize("host", ["::", "0.0.0.0"])
async def test_all_addresses_are_those_of_ipv4_and_ipv6(host: str) -> None:
    server = new_server()
    port = listen(server, Address(host, 0))
    await server.start()
    try:
        for loopback in LOOPBACKS:
            assert await answers(str(Address(loopback, port)))
    finally:
        await server.stop(None)


async def test_a_socket_file_is_listened_on_and_removed_at_the_end(socket_folder: Path) -> None:
    address = Address(f"unix:{socket_folder}/linnaeus.sock", 8001)
    server = new_server()
    assert listen(server, address) == 0
    await server.start()
    assert await answers(str(address))
    await server.stop(None)
    assert list(socket_folder.iterdir()) == []


async def test_the_file_of_a_dead_server_is_replaced_and_that_of_a_living_one_is_not(socket_folder: Path) -> None:
    path = socket_folder / "linnaeus.sock"
    address = Address(f"unix:{path}", 0)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    assert path.exists()
    living = new_server()
    listen(living, address)
    await living.start()
    try:
        with pytest.raises(StartupError, match=f"^gRPC cannot listen on unix:{path}: another server listens there"):
            listen(new_server(), address)
        assert await answers(str(address))
    finally:
        await living.stop(None)


async def test_what_is_no_socket_is_not_replaced(socket_folder: Path) -> None:
    (socket_folder / "file").write_text("mine")
    with pytest.raises(StartupError, match="it is a file, but no socket"):
        listen(new_server(), Address(f"unix:{socket_folder}/file", 0))
    assert (socket_folder / "file").read_text() == "mine"
    with pytest.raises(StartupError, match="nowhere does not exist; make it first$"):
        listen(new_server(), Address(f"unix:{socket_folder}/nowhere/x.sock", 0))


def test_on_a_machine_without_ipv6_all_addresses_are_those_of_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.socket

    def without_ipv6(family: int = socket.AF_INET, *rest: Any) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(97, "Address family not supported by protocol")
        return real(family, *rest)

    listen_address._has_ipv6.cache_clear()
    monkeypatch.setattr(socket, "socket", without_ipv6)
    assert (bindable_host("::"), bindable_host("::1"), bindable_host("127.0.0.1")) == ("0.0.0.0", "::1", "127.0.0.1")
    listen_address._has_ipv6.cache_clear()


@pytest.mark.parametrize("family", [socket.AF_INET, *([socket.AF_INET6] if len(LOOPBACKS) > 1 else [])])
def test_a_socket_of_our_own_takes_ipv4_too_whatever_the_machines_default(family: socket.AddressFamily) -> None:
    with socket.socket(family) as listener:
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        accept_ipv4_too(listener)
        listener.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", 0))
        listener.listen()
        socket.create_connection(("127.0.0.1", listener.getsockname()[1]), PATIENCE_SECONDS).close()


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("[::]", "::"),
        ("", "::"),
        (" [::1] ", "::1"),
        ("fe80::1%eth0", "fe80::1%eth0"),
        ("linnaeus.example", "linnaeus.example"),
        ("unix:/run/linnaeus.sock", "unix:/run/linnaeus.sock"),
        ("unix:///run/linnaeus.sock", "unix:/run/linnaeus.sock"),
        ("unix:run/linnaeus.sock", "unix:run/linnaeus.sock"),
        ("unix-abstract:linnaeus", "unix-abstract:linnaeus"),
    ],
)
def test_an_address_is_taken_in_each_form_in_which_it_is_written(written: str, meant: str) -> None:
    settings = read_settings(host=written, health_host=written)
    assert (settings.host, settings.health_host) == (meant, meant)


@pytest.mark.parametrize("setting", ["host", "health_host", "metrics_host"])
@pytest.mark.parametrize(
    "written",
    [
        "0.0.0.0:8001",
        "[::1]:8001",
        "http://localhost",
        "a b",
        "::g",
        "unix:",
        f"unix:/{'x' * 107}",
        "unix:/a\0b",
        "a\nb",
    ],
)
def test_what_is_no_address_is_refused_in_a_sentence(setting: str, written: str) -> None:
    with pytest.raises(StartupError, match=rf"^{setting} is .{{1,250}}, but must be [^\n]+$"):
        read_settings(**{setting: written})


def test_metrics_are_served_over_tcp_only() -> None:
    with pytest.raises(StartupError, match="metrics_host is 'unix:/run/x'.*HTTP is served over TCP only"):
        read_settings(metrics_host="unix:/run/x")


def test_a_socket_file_is_on_this_machine_only() -> None:
    assert Address("unix:/run/x", 0).is_loopback and str(Address("unix:/run/x", 7)) == "unix:/run/x"
