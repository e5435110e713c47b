"""A reverse proxy between caller and server changes neither answers nor errors."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

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
  server {{
    listen unix:{folder}/socket http2; client_max_body_size 64m;
    location / {{ grpc_pass grpc://{target}; }}
  }}
}}
"""


@pytest.fixture
def through_nginx(server: ServerProcess, tmp_path: Path) -> Iterator[ClassifierServiceStub]:
    configuration = tmp_path / "nginx.conf"
    configuration.write_text(CONFIGURATION.format(folder=tmp_path, target=server.target), encoding="utf-8")
    command = ["nginx", "-p", str(tmp_path), "-c", str(configuration), "-e", str(tmp_path / "error.log")]
    process = subprocess.Popen(command)
    try:
        with grpc.insecure_channel(f"unix:{tmp_path}/socket") as channel:
            grpc.channel_ready_future(channel).result(timeout=60)
            yield ClassifierServiceStub(channel)
    finally:
        process.terminate()
        process.wait(timeout=30)


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
