"""A gRPC server of methods that a test writes, on raw bytes."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc

SERVICE = "test.Service"


@contextmanager
def serving(methods: Mapping[str, grpc.RpcMethodHandler], threads: int) -> Iterator[str]:
    """Serves the methods of `SERVICE` until the block ends; yields the address.

    Args:
        methods: by their names.
        threads: how many calls run at a time.
    """
    with ThreadPoolExecutor(threads) as pool:
        server = grpc.server(pool)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.stop(None).wait()
