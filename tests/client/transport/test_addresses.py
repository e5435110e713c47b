"""One server or several: accepted targets, load balancing, and servers that leave the rotation."""

import asyncio
import socket
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from linnaeus.client import AsyncClient, Client, Unavailable
from linnaeus.client.transport.addresses import parse_addresses
from linnaeus.v1.classifier_pb2_grpc import ClassifierServiceServicer, add_ClassifierServiceServicer_to_server

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Member(ClassifierServiceServicer):
    """One server of several: counts its calls and reports its health."""

    def __init__(self, threads, answer) -> None:
        self._answer = answer
        self.calls = 0
        self.health = health.HealthServicer()
        self.tell(SERVING)
        self.server = grpc.server(threads, options=[("grpc.so_reuseport", 0)])
        add_ClassifierServiceServicer_to_server(self, self.server)
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self.server)
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()

    def tell(self, status) -> None:
        self.health.set("", status)

    def Classify(self, request, context):
        self.calls += 1
        return self._answer(request)


@pytest.fixture
def members(make_answer):
    with ThreadPoolExecutor(32) as threads:
        made = [Member(threads, make_answer) for _ in range(2)]
        yield made
        for member in made:
            member.server.stop(grace=None).wait()


def literal(members) -> str:
    return "ipv4:" + ",".join(f"127.0.0.1:{member.port}" for member in members)


def listed(members) -> list[str]:
    return [f"127.0.0.1:{member.port}" for member in members]


def named(members) -> list[str]:
    return [f"localhost:{member.port}" for member in members]


def call_until(classify, done, calls: int = 10_000) -> int:
    """Calls until `done`, with a bound far above what any machine needs. Returns the number of calls."""
    for number in range(calls):
        if done():
            return number
        classify(b"a picture")
    raise AssertionError(f"not so after {calls} calls")


@pytest.mark.parametrize("targets", [literal, listed, named])
def test_servers_take_turns(members, targets):
    with Client(targets(members)) as client:
        call_until(client.classify, lambda: all(member.calls for member in members))
        before = Counter({member.port: member.calls for member in members})
        for _ in range(20):
            client.classify(b"a picture")
        turns = Counter({member.port: member.calls for member in members}) - before
    assert turns == {member.port: 10 for member in members}


@pytest.mark.parametrize("targets", [literal, listed, named])
async def test_servers_take_turns_with_the_asyncio_client(members, targets):
    async with AsyncClient(targets(members)) as client:
        await asyncio.gather(*(client.classify(b"a picture") for _ in range(10)))
        answers = [await client.classify(b"a picture") for _ in range(20)]
    assert len(answers) == 20
    assert all(member.calls for member in members)


def test_a_draining_server_leaves_the_rotation_and_comes_back(members):
    first, second = members
    with Client(listed(members)) as client:
        call_until(client.classify, lambda: all(member.calls for member in members))
        first.tell(NOT_SERVING)

        def turned_away() -> bool:
            before = first.calls
            for _ in range(4):
                client.classify(b"a picture")
            return first.calls == before

        call_until(client.classify, turned_away)
        calls = first.calls
        for _ in range(20):
            client.classify(b"a picture")
        assert first.calls == calls
        first.tell(SERVING)
        call_until(client.classify, lambda: first.calls > calls)


def test_a_single_server_is_called_whatever_its_health(members):
    first, _ = members
    first.tell(NOT_SERVING)
    with Client(f"127.0.0.1:{first.port}") as client:
        client.classify(b"a picture")
    assert first.calls == 1


def test_if_no_server_serves_the_error_names_them_all(members):
    for member in members:
        member.tell(NOT_SERVING)
    with Client(listed(members)) as client, pytest.raises(Unavailable) as raised:
        client.classify(b"a picture")
    assert str(raised.value).startswith(f"no server answers at {', '.join(listed(members))} (")


def test_an_unreachable_server_fails_no_call(members, silent_target):
    with Client([silent_target, listed(members)[0]]) as client:
        for _ in range(20):
            client.classify(b"a picture")
    assert members[0].calls == 20


@pytest.mark.parametrize("name", ["nobody.invalid", "empty..invalid", "x" * 64])
def test_an_unknown_name_does_not_affect_the_others(members, name):
    with Client([f"{name}:8001", *listed(members)]) as client:
        client.classify(b"a picture")
    assert members[0].calls + members[1].calls == 1


def test_if_no_name_is_known_the_error_says_so(monkeypatch):
    def fail(*arguments, **options):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with (
        Client(["one.invalid:1", "two.invalid:2"]) as client,
        pytest.raises(Unavailable, match="no server is known as one.invalid:1, two.invalid:2"),
    ):
        client.models()


async def test_a_name_look_up_does_not_block_the_event_loop(members, monkeypatch, patience_seconds):
    asked, released, look_up = threading.Event(), threading.Event(), socket.getaddrinfo

    def slow(*arguments, **options):
        asked.set()
        assert released.wait(patience_seconds)
        return look_up(*arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    async with AsyncClient(named(members)) as client:
        calls = asyncio.gather(*(client.classify(b"a picture") for _ in range(4)))
        assert await asyncio.to_thread(asked.wait, patience_seconds)
        released.set()
        await calls


def test_names_with_addresses_of_both_families_make_one_target(monkeypatch):
    known = {"four": ["192.0.2.1"], "six": ["2001:db8::1"], "both": ["2001:db8::2", "192.0.2.2"]}

    def look_up(host, port, type):
        return [(None, None, None, "", (address, int(port))) for address in known[host]]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    assert parse_addresses(["four:1", "192.0.2.9:2"]).grpc_target() == "ipv4:192.0.2.1:1,192.0.2.9:2"
    assert parse_addresses(["six:1", "[::1]:2"]).grpc_target() == "ipv6:[2001:db8::1]:1,[::1]:2"
    assert parse_addresses(["both:1", "four:2"]).grpc_target() == (
        "ipv6:[2001:db8::2]:1,[::ffff:192.0.2.2]:1,[::ffff:192.0.2.1]:2"
    )


@pytest.mark.parametrize(
    ("target", "several", "local"),
    [
        ("localhost:1", False, True),
        ("127.0.0.9:1", False, True),
        ("[::1]:1", False, True),
        ("192.0.2.1:1", False, False),
        ("ipv4:192.0.2.1:1", False, False),
        ("unix:/run/linnaeus.sock", False, True),
        ("unix-abstract:linnaeus", False, True),
        ("linnaeus:1", True, False),
        ("dns:///linnaeus:1", True, False),
        ("dns:linnaeus:1", True, False),
        ("ipv4:127.0.0.1:1,127.0.0.1:2", True, True),
        ("ipv4:127.0.0.1:1,192.0.2.1:2", True, False),
        ("ipv6:[::1]:1,[::1]:2", True, True),
        (["localhost:1", "localhost:2"], True, True),
        (["localhost:1", "linnaeus:2"], True, False),
        (["localhost:1"], False, True),
        (("localhost:1", "127.0.0.1:1"), True, True),
    ],
)
def test_an_address_is_recognised_as_local_or_as_several(target, several, local):
    addresses = parse_addresses(target)
    assert (addresses.may_be_several, addresses.are_local) == (several, local)


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ([], "the list of servers is empty"),
        (["localhost:1", "localhost"], "must be HOST:PORT, such as localhost:8001, not 'localhost'"),
        (["localhost:1", None], "must be HOST:PORT, such as localhost:8001, not None"),
        (["localhost:1", "unix:/run/linnaeus.sock"], "must be HOST:PORT"),
        (["localhost:1", "http://localhost"], "without a scheme"),
        ({"localhost:1"}, "must be HOST:PORT"),
    ],
)
def test_an_invalid_list_of_servers_says_why(target, sentence):
    with pytest.raises(ValueError, match=sentence):
        Client(target)
