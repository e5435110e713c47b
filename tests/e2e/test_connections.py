"""The setting for the age of connections reaches gRPC; tests/server/rpc/test_connection_age.py tells what it does."""

import threading
from pathlib import Path

import grpc

from linnaeus.server.rpc.child_server import ServerProcess


def test_an_idle_connection_is_told_to_reconnect_when_it_is_old(repository: Path) -> None:
    options = ["--models", "lenet", "--max-batch-size", "1", "--max-connection-age-seconds", "0.2"]
    reached, left = threading.Event(), threading.Event()

    def note(state: grpc.ChannelConnectivity) -> None:
        if state is grpc.ChannelConnectivity.READY:
            reached.set()
        elif reached.is_set():
            left.set()

    with (
        ServerProcess("--repository", str(repository), *options) as server,
        grpc.insecure_channel(server.target) as channel,
    ):
        channel.subscribe(note, try_to_connect=True)
        assert reached.wait(60) and left.wait(60)
        channel.unsubscribe(note)
