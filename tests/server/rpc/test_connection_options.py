"""Each option of the server's connections, by what it does."""

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.programs import NODE_PACKAGES
from tests.server.rpc.call_observers import NullCallObserver, QueueingCallObserver
from tests.server.rpc.frames import connected, relayed
from tests.server.rpc.held_servicer import HeldServicer
from tests.server.rpc.idle_engine import IdleEngine

from linnaeus.server.errors import StartupError
from linnaeus.server.rpc import connection_options
from linnaeus.server.rpc.connection_age import connection_age_options
from linnaeus.server.rpc.server import RpcServer, Service
from linnaeus.server.security.listen_address import Address
from linnaeus.server.security.server_security import ServerSecurity
from linnaeus.v1 import classifier_pb2 as v1
from linnaeus.v1 import classifier_pb2_grpc as v1_grpc

ROOT = Path(__file__).resolve().parent.parent.parent.parent
ANY_PORT = Address("127.0.0.1", 0)
INTERVAL_MILLISECONDS = connection_options._MIN_PING_INTERVAL_MILLISECONDS
# A keepalive that is a little longer than what the server allows, so that these tests are quick.
KEEPALIVE_MILLISECONDS = INTERVAL_MILLISECONDS + 100
PINGS = 5  # gRPC ends a connection after the third ping that comes too soon
CLIENT_KEEPALIVE = [
    ("grpc.keepalive_time_ms", KEEPALIVE_MILLISECONDS),
    ("grpc.keepalive_timeout_ms", 60_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.enable_retries", 0),
]


class Running:
    """A server whose Classify calls are held."""

    def __init__(self, server: RpcServer, servicer: HeldServicer, calls: QueueingCallObserver) -> None:
        self.port, self.health_port = server.port, server.health_port
        self.servicer, self.calls = servicer, calls

    async def begun(self) -> None:
        """Waits until another Classify call has begun."""
        while await self.calls.started.get() != "Classify":
            pass


@asynccontextmanager
async def running(
    *options: tuple[str, int], max_message_bytes: int = 1 << 20, max_connections: int = 100
) -> AsyncIterator[Running]:
    servicer, calls = HeldServicer(), QueueingCallObserver()
    security = ServerSecurity(address=ANY_PORT, health=ANY_PORT, max_connections=max_connections)
    server = RpcServer(calls, security, max_message_bytes, options)
    add = partial(v1_grpc.add_ClassifierServiceServicer_to_server, servicer)
    await server.start([Service("linnaeus.v1.ClassifierService", add)])
    await server.listen()
    yield Running(server, servicer, calls)
    servicer.may_end.set()
    await server.stop(IdleEngine(), 1)


def classify(channel: grpc.aio.Channel, **options: Any) -> Any:
    return v1_grpc.ClassifierServiceStub(channel).Classify(v1.ClassifyRequest(), **options)


@pytest.mark.parametrize("port", ["port", pytest.param("health_port", marks=pytest.mark.slow)])
async def test_an_idle_connection_may_ping_about_every_half_second(port: str) -> None:
    async with running() as server, connected(getattr(server, port)) as peer:
        for _ in range(PINGS):
            assert await peer.ping() is None
            await asyncio.sleep(KEEPALIVE_MILLISECONDS / 1000)  # the time between two pings of a client
        assert await peer.ping() is None


@pytest.mark.parametrize("port", ["port", "health_port"])
async def test_a_flood_of_pings_ends_its_connection(port: str) -> None:
    async with running() as server, connected(getattr(server, port)) as peer:
        answers = [await peer.ping() for _ in range(3)]
        while answers[-1] is None and len(answers) < 100:
            answers.append(await peer.ping())
        assert answers[-1] == b"too_many_pings" and len(answers) <= PINGS


@pytest.mark.slow
async def test_a_long_call_survives_its_clients_keepalive() -> None:
    async with (
        running() as server,
        relayed(server.port) as relay,
        grpc.aio.insecure_channel(f"127.0.0.1:{relay.port}", CLIENT_KEEPALIVE) as channel,
    ):
        call = classify(channel)
        await relay.pings(PINGS)
        assert not call.done()
        server.servicer.may_end.set()
        assert (await call).model == "answered"


@pytest.mark.slow
async def test_an_idle_stream_and_an_idle_connection_survive_their_clients_keepalive() -> None:
    async with (
        running() as server,
        relayed(server.port) as relay,
        grpc.aio.insecure_channel(f"127.0.0.1:{relay.port}", CLIENT_KEEPALIVE) as channel,
    ):
        stream = v1_grpc.ClassifierServiceStub(channel).StreamClassify()
        for correlation_id in (1, 2):
            await stream.write(v1.StreamClassifyRequest(correlation_id=correlation_id))
            assert (await stream.read()).correlation_id == correlation_id
            await relay.pings(PINGS)
        await stream.done_writing()
        assert await stream.read() is grpc.aio.EOF
        await relay.pings(PINGS)
        server.servicer.may_end.set()
        assert (await classify(channel)).model == "answered"
        assert relay.connections == 1


NODE = """
const grpc = require("@grpc/grpc-js"), loader = require("@grpc/proto-loader");
const contract = loader.loadSync("linnaeus/v1/classifier.proto", {includeDirs: ["PROTO"]});
const {linnaeus} = grpc.loadPackageDefinition(contract);
const options = {"grpc.keepalive_time_ms": MILLISECONDS};
const client = new linnaeus.v1.ClassifierService("127.0.0.1:PORT", grpc.credentials.createInsecure(), options);
client.classify({}, {deadline: Date.now() + 100000}, (error, answer) => {
  console.log(error ? grpc.status[error.code] + ": " + error.details : answer.model);
  client.close();
});
"""


@pytest.mark.needs(program="node")
async def test_a_long_call_survives_the_keepalive_of_node(tmp_path: Path) -> None:
    (tmp_path / "node_modules").symlink_to(NODE_PACKAGES)
    async with running() as server, relayed(server.port) as relay:
        filled = {"PROTO": str(ROOT / "proto"), "MILLISECONDS": str(KEEPALIVE_MILLISECONDS), "PORT": str(relay.port)}
        program = NODE
        for name, value in filled.items():
            program = program.replace(name, value)
        (tmp_path / "call.js").write_text(program, encoding="utf-8")
        node = await asyncio.create_subprocess_exec("node", "call.js", cwd=tmp_path, stdout=subprocess.PIPE)
        await relay.pings(PINGS)
        server.servicer.may_end.set()
        printed, _ = await node.communicate()
    assert printed == b"answered\n"


async def test_a_second_server_cannot_take_a_port_that_is_in_use() -> None:
    async with running() as server:
        for port in (server.port, server.health_port):
            security = ServerSecurity(address=Address("127.0.0.1", port or 0), max_connections=10)
            with pytest.raises(StartupError, match="another program"):
                RpcServer(NullCallObserver(), security, 1 << 20)


async def test_a_message_above_the_limit_is_refused() -> None:
    async with running(max_message_bytes=1000) as server:
        server.servicer.may_end.set()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            classify = v1_grpc.ClassifierServiceStub(channel).Classify
            assert (await classify(v1.ClassifyRequest(model="x" * 990))).model == "answered"
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await classify(v1.ClassifyRequest(model="x" * 1001))
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_connections_above_the_limit_are_closed() -> None:
    async with (
        running(max_connections=2) as server,
        connected(server.port) as first,
        connected(server.port) as second,
    ):
        for peer in (first, second):
            assert await peer.ping() is None
        async with connected(server.port) as further:
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await further.ping()
        assert await first.ping() is None


async def test_a_client_holds_back_calls_above_the_limit_of_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_options, "_MAX_CONCURRENT_STREAMS", 2)
    own_connection = [("grpc.use_local_subchannel_pool", 1)]
    async with (
        running() as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}", own_connection) as channel,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}", own_connection) as other_channel,
    ):
        async with connected(server.port) as peer:
            max_concurrent_streams = 3  # the setting's number: RFC 9113, 6.5.2
            assert (await peer.settings())[max_concurrent_streams] == 2
        first, second = classify(channel), classify(channel)
        await server.begun()
        await server.begun()
        third = classify(channel)
        stream = v1_grpc.ClassifierServiceStub(other_channel).StreamClassify()
        await stream.write(v1.StreamClassifyRequest(correlation_id=1))
        assert (await stream.read()).correlation_id == 1
        assert server.calls.started.get_nowait() == "StreamClassify"  # it came later than the call that is held back
        await stream.done_writing()
        first.cancel()
        await server.begun()
        server.servicer.may_end.set()
        await asyncio.gather(second, third)


@pytest.mark.parametrize("port", ["port", "health_port"])
async def test_a_connection_without_a_handshake_is_closed(monkeypatch: pytest.MonkeyPatch, port: str) -> None:
    monkeypatch.setattr(connection_options, "_HANDSHAKE_MILLISECONDS", 100)
    async with running() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", getattr(server, port))
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(60):  # gRPC's default is twice that
                while await reader.read(1000):
                    pass
        writer.close()


async def test_a_call_that_outlasts_the_grace_of_its_connection_is_cancelled() -> None:
    async with running(*connection_age_options(0.1, 0.1)) as server:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}", [("grpc.enable_retries", 0)]) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as ended:
                await classify(channel, timeout=100)
        assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
