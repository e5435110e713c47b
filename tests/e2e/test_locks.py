"""A locked server, from the wire: certificates, tokens, rates, and what becomes of the secrets."""

import hashlib
import json
import os
import secrets
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from tests.certificates import Authority, Pair

from linnaeus.client import AsyncClient, Client, PermissionDenied, Tls, Unauthenticated, Unavailable
from linnaeus.client.statuses import error_from
from linnaeus.server.rpc.child_server import ServerProcess
from linnaeus.v1 import classifier_pb2 as v1

NAME = "linnaeus.example"
BURST = 20
COMMAND = "from linnaeus.client.cli import main; main()"
ADMIN_METHODS = [
    *(f"linnaeus.v1.ModelService/{method.name}" for method in v1.DESCRIPTOR.services_by_name["ModelService"].methods),
    "inference.GRPCInferenceService/RepositoryModelLoad",
    "inference.GRPCInferenceService/RepositoryModelUnload",
]


@dataclass(frozen=True)
class Locked:
    """A server with every lock, and the keys to it."""

    process: ServerProcess
    authority: Authority
    own: Pair
    tokens: dict[str, str]
    folder: Path

    def tls(self, own: Pair | None = None) -> Tls:
        pair = own or self.own
        return Tls(ca=self.authority.certificate, certificate=pair.certificate, key=pair.key, server_name=NAME)

    def client(self, holder: str) -> Client:
        return Client(self.process.target, tls=self.tls(), token=self.tokens[holder], timeout_seconds=30)

    def channel(self) -> grpc.Channel:
        credentials = grpc.ssl_channel_credentials(self.authority.certificate, self.own.key, self.own.certificate)
        return grpc.secure_channel(self.process.target, credentials, [("grpc.ssl_target_name_override", NAME)])


@pytest.fixture(scope="module")
def locked(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Locked]:
    folder, authority = tmp_path_factory.mktemp("locks"), Authority()
    tokens = {name: secrets.token_urlsafe(24) for name in ("camera", "boss", "greedy", "shell")}
    certificate, key = authority.issue(NAME).write(folder)
    (folder / "ca.pem").write_bytes(authority.certificate)
    hashed = hashlib.sha256(tokens["boss"].encode()).hexdigest()
    lines = [f"{name} infer {token}\n" for name, token in tokens.items() if name != "boss"]
    (folder / "tokens").write_text("".join(lines) + f"boss admin sha256:{hashed}\n")
    arguments = ["--repository", str(repository), "--models", "lenet", "--health-port", "0", "--log-level", "debug"]
    arguments += ["--tls-certificate", str(certificate), "--tls-key", str(key)]
    arguments += ["--tls-client-ca", str(folder / "ca.pem"), "--token-file", str(folder / "tokens")]
    arguments += ["--rate-limit", "0.001", "--rate-burst", str(BURST)]
    with ServerProcess(*arguments) as process:
        yield Locked(process, authority, authority.issue("client.example"), tokens, folder)


@pytest.fixture
def digit(pictures: Path) -> bytes:
    return (pictures / "digits" / "4.png").read_bytes()


async def test_who_has_certificate_and_token_is_answered(locked: Locked, digit: bytes) -> None:
    for holder in ("camera", "boss"):
        with locked.client(holder) as client:
            assert client.classify(digit, model="lenet").top.label == "4"
    async with AsyncClient(locked.process.target, tls=locked.tls(), token=locked.tokens["camera"]) as client:
        assert (await client.classify(digit, model="lenet")).top.label == "4"


@pytest.mark.parametrize("token", [None, "not-one-of-the-server-s-tokens"])
def test_who_has_no_token_or_a_wrong_one_is_not_known(locked: Locked, digit: bytes, token: str | None) -> None:
    with Client(locked.process.target, tls=locked.tls(), token=token) as client:
        for ask in (lambda: client.classify(digit), client.models, lambda: client.model("lenet")):
            with pytest.raises(Unauthenticated) as refused:
                ask()
            assert refused.value.details[0]["reason"] == "TOKEN_NEEDED"


@pytest.mark.parametrize("how", ["expired", "of a stranger", "none", "no encryption"])
def test_who_has_no_good_certificate_is_not_talked_to(locked: Locked, digit: bytes, how: str) -> None:
    anonymous = Tls(ca=locked.authority.certificate, server_name=NAME)
    tls: Any = {
        "expired": locked.tls(locked.authority.issue("client.example", expired=True)),
        "of a stranger": locked.tls(Authority().issue("client.example")),
        "none": anonymous,
        "no encryption": False,
    }[how]
    with (
        Client(locked.process.target, tls=tls, token=locked.tokens["boss"], timeout_seconds=20) as client,
        pytest.raises(Unavailable),
    ):
        client.classify(digit)


@pytest.mark.parametrize("method", ADMIN_METHODS)
def test_a_token_to_infer_does_not_administrate(locked: Locked, method: str) -> None:
    with locked.channel() as channel:
        call = channel.unary_unary(f"/{method}")
        assert _code(call, locked.tokens["boss"]) is not grpc.StatusCode.UNIMPLEMENTED
        for _ in range(2):
            assert _code(call, locked.tokens["camera"]) is grpc.StatusCode.PERMISSION_DENIED
        assert _code(call, None) is grpc.StatusCode.UNAUTHENTICATED


def test_permission_denied_is_an_error_of_its_own() -> None:
    class Denied(grpc.RpcError):
        def code(self) -> grpc.StatusCode:
            return grpc.StatusCode.PERMISSION_DENIED

        def details(self) -> str:
            return "this call needs the right admin, which camera does not have"

        def trailing_metadata(self) -> None:
            return None

    error = error_from(Denied(), target="server:8001", timeout_seconds=1)
    assert isinstance(error, PermissionDenied) and str(error) == Denied().details()


def test_what_is_served_is_told_to_those_who_may_call(locked: Locked) -> None:
    with locked.channel() as channel:
        interceptor = _Bearer(locked.tokens["camera"])
        database = ProtoReflectionDescriptorDatabase(grpc.intercept_channel(channel, interceptor))
        assert "linnaeus.v1.ClassifierService" in database.get_services()
        with pytest.raises(grpc.RpcError) as refused:
            ProtoReflectionDescriptorDatabase(channel).get_services()
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_the_health_needs_no_token_and_is_never_limited(locked: Locked) -> None:
    with locked.channel() as channel:
        for _ in range(2 * BURST):
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=60)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_the_health_port_needs_no_certificate_and_tells_nothing_else(locked: Locked) -> None:
    port = locked.process.wait_for("listening")["health_port"]
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        for service in ("", "linnaeus.v1.ClassifierService"):
            request = health_pb2.HealthCheckRequest(service=service)
            answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=60)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        for method in ("linnaeus.v1.ClassifierService/Classify", "linnaeus.v1.ClassifierService/ListModels"):
            assert _code(channel.unary_unary(f"/{method}"), locked.tokens["boss"]) is grpc.StatusCode.UNIMPLEMENTED
        with pytest.raises(grpc.RpcError) as refused:
            ProtoReflectionDescriptorDatabase(channel).get_services()
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_greedy_caller_is_refused_and_the_others_are_not(locked: Locked) -> None:
    with locked.channel() as channel:
        call = channel.unary_unary("/linnaeus.v1.ClassifierService/ListModels")
        codes = [_code(call, locked.tokens["greedy"]) for _ in range(BURST + 3)]
        assert codes == [grpc.StatusCode.OK] * BURST + [grpc.StatusCode.RESOURCE_EXHAUSTED] * 3
        assert _code(call, locked.tokens["camera"]) is grpc.StatusCode.OK


@pytest.mark.parametrize("how", ["file", "environment"])
def test_the_command_line_shows_token_and_certificate(locked: Locked, pictures: Path, tmp_path: Path, how: str) -> None:
    certificate, key = locked.own.write(tmp_path, "client")
    (tmp_path / "token").write_text(locked.tokens["shell"] + "\n")
    command = [sys.executable, "-c", COMMAND, "--server", locked.process.target]
    command += ["--tls-ca", str(locked.folder / "ca.pem"), "--tls-server-name", NAME]
    command += ["--tls-certificate", str(certificate), "--tls-key", str(key)]
    environment = {**os.environ, "LINNAEUS_TOKEN": locked.tokens["shell"] if how == "environment" else ""}
    if how == "file":
        command += ["--token-file", str(tmp_path / "token")]
    command += ["classify", str(pictures / "digits" / "4.png"), "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]["classes"][0]["label"] == "4"


def test_secrets_are_in_no_log_no_metric_and_no_list_of_processes(locked: Locked) -> None:
    """Runs last: by now every kind of caller was there, with the log at its most talkative."""
    process = Path("/proc", str(locked.process.child.pid))
    with urllib.request.urlopen(locked.process.metrics_url, timeout=60) as page:
        shown = page.read().decode()
    shown += json.dumps(locked.process.logs) + (process / "cmdline").read_text() + (process / "environ").read_text()
    key_lines = (locked.folder / "server-key.pem").read_text().splitlines()[1:-1]
    for secret in (*locked.tokens.values(), *key_lines, "not-one-of-the-server-s-tokens"):
        assert secret not in shown
    assert 'grpc_code="UNAUTHENTICATED"' in shown and "tokens" in shown  # it was this server's


class _Bearer(grpc.StreamStreamClientInterceptor):  # type: ignore[misc]
    def __init__(self, token: str) -> None:
        self._token = token

    def intercept_stream_stream(self, continuation: Any, details: Any, requests: Any) -> Any:
        return continuation(details._replace(metadata=[("authorization", f"Bearer {self._token}")]), requests)


def _code(call: Any, token: str | None) -> grpc.StatusCode:
    metadata = [("authorization", f"Bearer {token}")] if token else []
    try:
        call(b"", timeout=20, metadata=metadata)
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK
