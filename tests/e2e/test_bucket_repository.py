"""A repository in a real S3 server: what is pushed there is served, whatever the network and the provider do."""

import asyncio
import hashlib
import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy
import pytest
import torch
from tests.e2e.bucket_server import (
    Bucket,
    BucketProcesses,
    BucketServer,
    killed,
    s3_server,
    text_of_log,
    variables,
    wait_until,
)
from tests.e2e.fault_proxy import BUSY, EXPIRED, Fault, FaultProxy
from tests.e2e.several_processes import metric
from tests.pages import shell_commands
from tests.programs import MOTO_PYTHON
from tests.repositories import add_version

from linnaeus.client import AsyncClient, Client, ModelNotFound
from linnaeus.kserve import grpc_service_pb2 as kserve
from linnaeus.kserve.grpc_service_pb2_grpc import GRPCInferenceServiceStub
from linnaeus.server.rpc.child_server import ServerProcess

pytestmark = pytest.mark.needs(program="moto")
DIGIT = numpy.zeros((28, 28), numpy.uint8)
MODEL_OBJECT = r"/model\.pt"
# What is asked of every server: so long after the last byte of a version it answers.
PROMISED_SECONDS = 10
CALLERS = 4


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with s3_server() as port:
        yield port


@pytest.fixture
def bucket(port: int) -> Bucket:
    return Bucket(port)


@pytest.fixture
def proxy(port: int) -> Iterator[FaultProxy]:
    with FaultProxy(port).running() as proxy:
        yield proxy


@pytest.fixture(scope="module")
def versions(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Versions 1 to 3 of model m, whose labels begin with v1, v2 and v3."""
    root = tmp_path_factory.mktemp("versions")
    return {number: add_version(repository / "lenet" / "1", root, "m", number, f"v{number} ") for number in (1, 2, 3)}


@pytest.fixture(scope="module")
def large(versions: dict[int, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Version 2 with 20 MB that the network does not use, which are several reads."""
    folder = shutil.copytree(versions[2], tmp_path_factory.mktemp("large") / "2")
    module = torch.jit.load(str(folder / "model.pt"))
    torch.jit.save(module, str(folder / "model.pt"), _extra_files={"padding": os.urandom(20_000_000)})
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["sha256"] = hashlib.sha256((folder / "model.pt").read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def label(server: ServerProcess, model: str = "m") -> str:
    """Returns the first word of the answer's label, which tells the version's labels."""
    with Client(server.target) as client:
        answer = client.classify(DIGIT, model=model)
    word = answer.top.label.split()[0]
    assert word == f"v{answer.version}", "labels and manifest are of one version"
    return word


def has_no_secret(server: ServerProcess) -> bool:
    return "TOPSECRET" not in text_of_log(server)


def index(server: ServerProcess) -> dict[tuple[str, str], tuple[str, str]]:
    with grpc.insecure_channel(server.target) as channel:
        stub = GRPCInferenceServiceStub(channel)
        listed = stub.RepositoryIndex(kserve.RepositoryIndexRequest(), timeout=30).models
    return {(each.name, each.version): (each.state, each.reason) for each in listed}


class Callers:
    """Callers that ask again and again, and note which versions answered."""

    def __init__(self, *servers: ServerProcess) -> None:
        self.answers: dict[str, set[str]] = {server.target: set() for server in servers}
        self.count = 0
        self.failures: list[BaseException] = []
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=asyncio.run, args=(self._call(server.target),)) for server in servers]
        for each in self._threads:
            each.start()

    def __enter__(self) -> "Callers":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._stopped.set()
        for each in self._threads:
            each.join()

    async def _call(self, target: str) -> None:
        async with AsyncClient(target) as client, asyncio.TaskGroup() as group:
            for _ in range(CALLERS):
                group.create_task(self._call_on(target, client))

    async def _call_on(self, target: str, client: AsyncClient) -> None:
        while not self._stopped.is_set():
            try:
                answer = await client.classify(DIGIT, model="m")
                self.answers[target].add(f"{answer.version}: {answer.top.label.split()[0]}")
                self.count += 1
            except Exception as error:
                self.failures.append(error)


def test_a_version_that_is_pushed_is_served_by_every_server_in_time_without_a_failed_call(
    port: int, versions: dict[int, Path], tmp_path: Path
) -> None:
    command = next(command for page, command in shell_commands() if page.stem == "repositories" and "s3://" in command)
    program, flag, url = command.split()
    bucket = Bucket(port, "my-bucket")
    assert (program, flag, url) == ("linnaeus-server", "--repository", bucket.url)
    endpoint = f"http://127.0.0.1:{port}"
    bucket.push(versions[1], "m/1")
    pace = ("--watch-seconds", "2")  # the default
    with (
        BucketServer(endpoint, bucket.url, tmp_path / "a", *pace) as one,
        BucketProcesses(endpoint, bucket.url, tmp_path / "b", *pace) as several,
        Callers(one, several) as callers,
    ):
        wait_until(lambda: all(found == {"1: v1"} for found in callers.answers.values()))
        bucket.push(versions[2], "m/2")
        pushed = time.monotonic()
        wait_until(lambda: all("2: v2" in found for found in callers.answers.values()))
        seconds = time.monotonic() - pushed
        callers.stop()
        print(f"served by both after {seconds:.1f} s, {callers.count} calls")
        assert not callers.failures
        assert all(found == {"1: v1", "2: v2"} for found in callers.answers.values()), "answers of whole versions only"
        assert seconds < PROMISED_SECONDS
        assert metric(several, "linnaeus_repository_versions_total") == 2
        assert metric(one, "linnaeus_repository_failures_total") == 0
        assert has_no_secret(one) and has_no_secret(several)


def test_a_server_starts_and_serves_without_the_bucket_once_it_has_a_copy(
    bucket: Bucket, proxy: FaultProxy, versions: dict[int, Path], tmp_path: Path
) -> None:
    bucket.push(versions[1], "m/1")
    with BucketServer(proxy.url, bucket.url, tmp_path / "copy") as server:
        assert label(server) == "v1"
    proxy.faults.append(Fault("", status=403, body=EXPIRED))
    with BucketServer(proxy.url, bucket.url, tmp_path / "copy") as server:
        wait_until(lambda: "it cannot be read, what is served stays as it is" in text_of_log(server))
        assert label(server) == "v1" and has_no_secret(server)
        with Client(server.target) as client, pytest.raises(ModelNotFound):
            client.classify(DIGIT, model="other")
        proxy.faults.clear()  # as when somebody has renewed the credentials
        bucket.push(versions[2], "m/2")
        wait_until(lambda: label(server) == "v2")
        assert "the listing: it is well again" in text_of_log(server)


def test_a_start_without_copy_and_bucket_ends_with_one_sentence(
    bucket: Bucket, proxy: FaultProxy, tmp_path: Path
) -> None:
    proxy.faults.append(Fault("", status=403, body=EXPIRED))
    with killed(BucketServer(proxy.url, bucket.url, tmp_path / "copy")) as server:
        assert server.child.wait(60) == 1
        wait_until(lambda: "cannot be read" in text_of_log(server))
    assert f"the model repository {bucket.url} cannot be read: The provided token has expired" in text_of_log(server)
    assert has_no_secret(server)


def test_a_slow_and_a_busy_bucket_delay_a_version_and_harm_no_call(
    bucket: Bucket, proxy: FaultProxy, versions: dict[int, Path], tmp_path: Path
) -> None:
    bucket.push(versions[1], "m/1")
    with BucketServer(proxy.url, bucket.url, tmp_path / "copy") as server, Callers(server) as callers:
        slow, busy = Fault(MODEL_OBJECT, hold_at=500_000), Fault("list-type", status=503, body=BUSY, times=2)
        proxy.faults += [slow, busy]
        bucket.push(versions[2], "m/2")
        assert slow.entered.wait(60)
        before = callers.count
        wait_until(lambda: callers.count > before + 100)
        assert callers.answers[server.target] == {"1: v1"}
        slow.release.set()
        wait_until(lambda: "2: v2" in callers.answers[server.target])
        callers.stop()
        assert not callers.failures and busy.times == 0


def test_an_answer_that_is_cut_is_gone_on_with_where_it_ended(
    bucket: Bucket, proxy: FaultProxy, versions: dict[int, Path], large: Path, tmp_path: Path
) -> None:
    bucket.push(versions[1], "m/1")
    with BucketServer(proxy.url, bucket.url, tmp_path / "copy") as server:
        cut = Fault(r"/m/2/model\.pt bytes=8388608-", cut_at=100_000, times=8)  # more often than s3fs tries
        proxy.faults.append(cut)
        bucket.push(large, "m/2")
        wait_until(lambda: label(server) == "v2")
        assert "m/2: it cannot be fetched: model.pt: " in text_of_log(server) and cut.times == 0
        assert proxy.ranges("/m/2/model.pt").count("bytes=0-8388607") == 1, "what had come is not asked for again"


def test_a_server_that_dies_while_it_copies_goes_on_with_what_came(
    bucket: Bucket, proxy: FaultProxy, large: Path, tmp_path: Path
) -> None:
    bucket.push(large, "m/2")
    held = Fault(r"/model\.pt bytes=8388608-", hold_at=1_000_000)
    proxy.faults.append(held)
    with killed(BucketServer(proxy.url, bucket.url, tmp_path / "copy")) as server:
        assert held.entered.wait(60)
        server.kill()
    assert not (tmp_path / "copy" / "m" / "2").exists(), "nothing half appears"
    held.release.set()
    proxy.faults.clear()
    proxy.requests.clear()
    with BucketServer(proxy.url, bucket.url, tmp_path / "copy") as server:
        assert label(server) == "v2"
    assert proxy.ranges("/m/2/model.pt")[0].startswith("bytes=8388608-")


def test_a_version_that_changes_while_it_is_read_is_served_whole(
    bucket: Bucket, proxy: FaultProxy, versions: dict[int, Path], tmp_path: Path
) -> None:
    bucket.push(versions[1], "m/1")
    with BucketServer(proxy.url, bucket.url, tmp_path / "copy") as server, Callers(server) as callers:
        held = Fault(r"/m/2/model\.pt", hold_at=500_000, times=1)
        proxy.faults.append(held)
        bucket.push(versions[2], "m/2")
        assert held.entered.wait(60)
        changed = shutil.copytree(versions[2], tmp_path / "changed")
        labels = (changed / "labels.txt").read_text().replace("v2 ", "v2changed ")
        (changed / "labels.txt").write_text(labels)
        bucket.push(changed, "m/2")
        held.release.set()
        wait_until(lambda: "2: v2changed" in callers.answers[server.target])
        callers.stop()
        assert not callers.failures
        assert callers.answers[server.target] == {"1: v1", "2: v2changed"}, "the first content was never served"


def test_what_the_bucket_no_longer_has_is_unloaded_and_an_empty_bucket_changes_nothing(
    bucket: Bucket, port: int, versions: dict[int, Path], tmp_path: Path
) -> None:
    bucket.push(versions[1], "m/1")
    bucket.push(versions[2], "m/2")
    with BucketServer(f"http://127.0.0.1:{port}", bucket.url, tmp_path / "copy") as server:
        assert label(server) == "v2"
        bucket.delete("m/2")
        wait_until(lambda: label(server) == "v1")
        bucket.delete("m/1")
        wait_until(lambda: "it suddenly has none of the 1 versions that were copied" in text_of_log(server))
        assert label(server) == "v1"


def test_explicit_control_lists_what_the_bucket_has_and_copies_what_is_asked_for(
    bucket: Bucket, port: int, versions: dict[int, Path], tmp_path: Path
) -> None:
    bucket.push(versions[1], "m/1")
    bucket.push(versions[1], "other/1")  # its manifest has another name: it is refused at load
    copy = tmp_path / "copy"
    with BucketServer(f"http://127.0.0.1:{port}", bucket.url, copy, "--model-control", "explicit") as server:
        assert {key: state for key, (state, _) in index(server).items()} == {
            ("m", "1"): "UNAVAILABLE",
            ("other", "1"): "UNAVAILABLE",
        }
        assert not (copy / "m").exists()
        with grpc.insecure_channel(server.target) as channel:
            stub = GRPCInferenceServiceStub(channel)
            stub.RepositoryModelLoad(kserve.RepositoryModelLoadRequest(model_name="m"), timeout=60)
            assert label(server) == "v1" and not (copy / "other").exists()
            bucket.push(versions[2], "m/2")
            stub.RepositoryModelLoad(kserve.RepositoryModelLoadRequest(model_name="m"), timeout=60)
            assert label(server) == "v2"
            stub.RepositoryModelUnload(kserve.RepositoryModelUnloadRequest(model_name="m"), timeout=60)
            assert index(server)["m", "2"][0] == "UNAVAILABLE"
            with pytest.raises(grpc.RpcError, match="no model 'nowhere'"):
                stub.RepositoryModelLoad(kserve.RepositoryModelLoadRequest(model_name="nowhere"), timeout=60)


def test_a_copy_keeps_to_its_budget_and_says_what_has_no_room(
    bucket: Bucket, port: int, versions: dict[int, Path], large: Path, tmp_path: Path
) -> None:
    bucket.push(versions[1], "m/1")
    limit = ("--repository-bytes", "4000000")
    with BucketServer(f"http://127.0.0.1:{port}", bucket.url, tmp_path / "copy", *limit) as server:
        bucket.push(large, "m/2")
        wait_until(lambda: "m/2: it is refused: it needs 21" in text_of_log(server))
        assert label(server) == "v1"
        bucket.push(versions[3], "m/3")
        wait_until(lambda: label(server) == "v3")
        assert metric(server, "linnaeus_repository_copy_bytes") < 4_000_000
        assert metric(server, "linnaeus_repository_failures_total") >= 1


def test_two_servers_may_share_a_copy(bucket: Bucket, proxy: FaultProxy, large: Path, tmp_path: Path) -> None:
    bucket.push(large, "m/2")
    with (
        BucketServer(proxy.url, bucket.url, tmp_path / "copy") as one,
        BucketServer(proxy.url, bucket.url, tmp_path / "copy") as other,
    ):
        assert label(one) == label(other) == "v2"
    assert len(proxy.ranges("/m/2/model.pt")) == 3, "the version came once"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--repository", "gs://zoo/models"], "gcsfs is not installed: pip install 'linnaeus[gcs]'"),
        (["--repository", "az://zoo/models"], "adlfs is not installed: pip install 'linnaeus[azure]'"),
        (["--repository", "hf://zoo/models"], "huggingface_hub is not installed: pip install 'linnaeus[hf]'"),
        (
            ["--repository", "s3://zoo/models", "--repository-folder", "FULL"],
            "holds something else than a copy of s3://",
        ),
    ],
)
def test_what_is_missing_for_a_url_ends_the_start_with_a_sentence(
    tmp_path: Path, options: list[str], said: str
) -> None:
    (tmp_path / "somebody's").mkdir()
    options = [str(tmp_path) if each == "FULL" else each for each in options]
    server = BucketServer.__mro__[1](*options, python=str(MOTO_PYTHON), environment=variables("http://127.0.0.1:1"))
    with killed(server):
        assert server.child.wait(60) == 1
        wait_until(lambda: said in text_of_log(server))
    assert (tmp_path / "somebody's").is_dir()
