"""A servicer of `ClassifierService` over a real connection, with all its calls intercepted."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
from tests.server.rpc.call_observers import NullCallObserver

from linnaeus.server.rpc.interceptor import CallObserver, InterceptedServer
from linnaeus.v1 import classifier_pb2_grpc as v1_grpc

CHANNEL_OPTIONS = (("grpc.enable_retries", 0),)


@asynccontextmanager
async def served(
    servicer: v1_grpc.ClassifierServiceServicer, calls: CallObserver | None = None, **options: Any
) -> AsyncIterator[Any]:
    """Serves until the block ends; yields a stub whose calls gRPC does not retry.

    Args:
        servicer: answers the calls.
        calls: observes them.
        options: those of `InterceptedServer`.
    """
    server = grpc.aio.server()
    intercepted = InterceptedServer(server, calls or NullCallObserver(), **options)
    v1_grpc.add_ClassifierServiceServicer_to_server(servicer, intercepted)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", CHANNEL_OPTIONS) as channel:
            yield v1_grpc.ClassifierServiceStub(channel)
    finally:
        await server.stop(None)
