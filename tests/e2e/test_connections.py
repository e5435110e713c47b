"""The setting for the maximum connection age reaches gRPC; tests/server/rpc/test_connection_age.py tests its effect."""

import threading
from pathlib import Path

import grpc
from tests.e2e.forked_server import ForkedServer


def test_an_idle_connection_is_closed_at_its_maximum_age(repository: Path) -> None:
    options = ["--models", "lenet", "--max-batch-size", "1", "--max-connection-age-seconds", "0.2"]
    reached, disconnected = threading.Event(), threading.Event()

    def note(state: grpc.ChannelConnectivity) -> None:
        if state is grpc.ChannelConnectivity.READY:
            reached.set()
        elif reached.is_set():
            disconnected.set()

    with (
        ForkedServer("--repository", str(repository), *options) as server,
        grpc.insecure_channel(server.target) as channel,
    ):
        channel.subscribe(note, try_to_connect=True)
        assert reached.wait(60) and disconnected.wait(60)
        channel.unsubscribe(note)
