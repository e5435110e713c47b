"""A reverse proxy between caller and server changes neither answers nor errors, and loses no call at a stop."""

import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from tests.e2e.forked_server import ForkedServer

from linnaeus.server.rpc.child_server import ServerProcess
from linnaeus.v1 import classifier_pb2 as v1
from linnaeus.v1.classifier_pb2_grpc import ClassifierServiceStub

pytestmark = pytest.mark.needs(program="nginx")
# A Unix socket needs no free port. Everything nginx writes lies in one folder.
CONFIGURATION = """
daemon off; master_process off; user root root; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
  access_log off; client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
  uwsgi_temp_path {folder}; scgi_temp_path {folder};
  upstream servers {{ {servers} keepalive 32; }}
  server {{
    listen unix:{folder}/socket http2; client_max_body_size 64m;
    location / {{ grpc_pass grpc://servers; }}
  }}
}}
"""


CALLERS = 8


@contextmanager
def nginx(folder: Path, *targets: str) -> Iterator[str]:
    """Runs nginx before these servers; yields its address."""
    configuration = folder / "nginx.conf"
    servers = " ".join(f"server {target};" for target in targets)
    configuration.write_text(CONFIGURATION.format(folder=folder, servers=servers), encoding="utf-8")
    command = ["nginx", "-p", str(folder), "-c", str(configuration), "-e", str(folder / "error.log")]
    process = subprocess.Popen(command)
    try:
        with grpc.insecure_channel(f"unix:{folder}/socket") as channel:
            grpc.channel_ready_future(channel).result(timeout=60)
        yield f"unix:{folder}/socket"
    finally:
        process.terminate()
        process.wait(timeout=30)


@pytest.fixture
def through_nginx(server: ServerProcess, tmp_path: Path) -> Iterator[ClassifierServiceStub]:
    with nginx(tmp_path, server.target) as address, grpc.insecure_channel(address) as channel:
        yield ClassifierServiceStub(channel)


def test_nginx_passes_single_calls_and_streams_on(
    through_nginx: ClassifierServiceStub, stub: ClassifierServiceStub, pictures: Path
) -> None:
    image = v1.Image(encoded=(pictures / "digits" / "7.png").read_bytes())
    request = v1.ClassifyRequest(image=image, model="lenet", top_k=3)
    direct = stub.Classify(request, timeout=60)
    proxied = through_nginx.Classify(request, timeout=60)
    assert [each.label for each in proxied.classes] == [each.label for each in direct.classes]
    asked = [v1.StreamClassifyRequest(correlation_id=number, image=image, model="lenet") for number in range(20)]
    streamed = list(through_nginx.StreamClassify(iter(asked), timeout=60))
    assert sorted(each.correlation_id for each in streamed) == list(range(20))


def test_nginx_passes_the_details_of_an_error_on(through_nginx: ClassifierServiceStub) -> None:
    request = v1.ClassifyRequest(image=v1.Image(encoded=b"no image"), model="lenet")
    with pytest.raises(grpc.RpcError) as raised:
        through_nginx.Classify(request, timeout=60)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    status = rpc_status.from_call(raised.value)
    assert status is not None and any(each.Is(error_details_pb2.BadRequest.DESCRIPTOR) for each in status.details)


def test_no_call_through_nginx_fails_while_one_of_two_servers_is_stopped(
    server: ServerProcess, repository: Path, pictures: Path, tmp_path: Path
) -> None:
    image = v1.Image(encoded=(pictures / "digits" / "7.png").read_bytes())
    request, calling = v1.ClassifyRequest(image=image, model="lenet"), threading.Barrier(CALLERS + 1)

    def call(address: str) -> None:
        """Makes calls until the server has ended, and some more; raises what any of them raises."""
        with grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            stub = ClassifierServiceStub(channel)
            stub.Classify(request, timeout=60)
            calling.wait(60)
            while stopped.child.poll() is None:
                stub.Classify(request, timeout=60)
            for _ in range(10):
                stub.Classify(request, timeout=60)

    with (
        ForkedServer("--repository", str(repository), "--models", "lenet") as stopped,
        nginx(tmp_path, stopped.target, server.target) as address,
        ThreadPoolExecutor(CALLERS) as callers,
    ):
        calls = [callers.submit(call, address) for _ in range(CALLERS)]
        calling.wait(60)
        assert stopped.stop() == 0
        for each in calls:
            each.result(60)
