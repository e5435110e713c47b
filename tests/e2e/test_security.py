"""A server with TLS, client certificates, tokens and rate limits, and the secrecy of its credentials."""

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
from linnaeus.client.protocol.error_mapping import error_from_rpc
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
class SecuredServer:
    """A server with every security setting, and credentials for it."""

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
def secured(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredServer]:
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
        yield SecuredServer(process, authority, authority.issue("client.example"), tokens, folder)


@pytest.fixture
def digit(pictures: Path) -> bytes:
    return (pictures / "digits" / "4.png").read_bytes()


async def test_a_caller_with_certificate_and_token_is_answered(secured: SecuredServer, digit: bytes) -> None:
    for holder in ("camera", "boss"):
        with secured.client(holder) as client:
            assert client.classify(digit, model="lenet").top.label == "4"
    async with AsyncClient(secured.process.target, tls=secured.tls(), token=secured.tokens["camera"]) as client:
        assert (await client.classify(digit, model="lenet")).top.label == "4"


@pytest.mark.parametrize("token", [None, "not-one-of-the-server-s-tokens"])
def test_a_missing_or_wrong_token_is_unauthenticated(secured: SecuredServer, digit: bytes, token: str | None) -> None:
    with Client(secured.process.target, tls=secured.tls(), token=token) as client:
        for call in (lambda: client.classify(digit), client.models, lambda: client.model("lenet")):
            with pytest.raises(Unauthenticated) as refused:
                call()
            assert refused.value.details[0]["reason"] == "TOKEN_NEEDED"


@pytest.mark.parametrize("how", ["expired", "of a stranger", "none", "no encryption"])
def test_a_caller_without_a_valid_certificate_cannot_connect(secured: SecuredServer, digit: bytes, how: str) -> None:
    anonymous = Tls(ca=secured.authority.certificate, server_name=NAME)
    tls: Any = {
        "expired": secured.tls(secured.authority.issue("client.example", expired=True)),
        "of a stranger": secured.tls(Authority().issue("client.example")),
        "none": anonymous,
        "no encryption": False,
    }[how]
    with (
        Client(secured.process.target, tls=tls, token=secured.tokens["boss"], timeout_seconds=20) as client,
        pytest.raises(Unavailable),
    ):
        client.classify(digit)


@pytest.mark.parametrize("method", ADMIN_METHODS)
def test_a_token_with_the_right_infer_cannot_call_admin_methods(secured: SecuredServer, method: str) -> None:
    with secured.channel() as channel:
        call = channel.unary_unary(f"/{method}")
        assert _code(call, secured.tokens["boss"]) is not grpc.StatusCode.UNIMPLEMENTED
        for _ in range(2):
            assert _code(call, secured.tokens["camera"]) is grpc.StatusCode.PERMISSION_DENIED
        assert _code(call, None) is grpc.StatusCode.UNAUTHENTICATED


def test_permission_denied_raises_its_own_exception() -> None:
    class Denied(grpc.RpcError):
        def code(self) -> grpc.StatusCode:
            return grpc.StatusCode.PERMISSION_DENIED

        def details(self) -> str:
            return "this call needs the right admin, which camera does not have"

        def trailing_metadata(self) -> None:
            return None

    error = error_from_rpc(Denied(), target="server:8001", timeout_seconds=1)
    assert isinstance(error, PermissionDenied) and str(error) == Denied().details()


def test_reflection_needs_a_token(secured: SecuredServer) -> None:
    with secured.channel() as channel:
        interceptor = _Bearer(secured.tokens["camera"])
        database = ProtoReflectionDescriptorDatabase(grpc.intercept_channel(channel, interceptor))
        assert "linnaeus.v1.ClassifierService" in database.get_services()
        with pytest.raises(grpc.RpcError) as refused:
            ProtoReflectionDescriptorDatabase(channel).get_services()
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_health_needs_no_token_and_is_not_rate_limited(secured: SecuredServer) -> None:
    with secured.channel() as channel:
        for _ in range(2 * BURST):
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=60)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_the_health_port_needs_no_certificate_and_serves_only_health(secured: SecuredServer) -> None:
    port = secured.process.wait_for("listening")["health_port"]
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        for service in ("", "linnaeus.v1.ClassifierService"):
            request = health_pb2.HealthCheckRequest(service=service)
            answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=60)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        for method in ("linnaeus.v1.ClassifierService/Classify", "linnaeus.v1.ClassifierService/ListModels"):
            assert _code(channel.unary_unary(f"/{method}"), secured.tokens["boss"]) is grpc.StatusCode.UNIMPLEMENTED
        with pytest.raises(grpc.RpcError) as refused:
            ProtoReflectionDescriptorDatabase(channel).get_services()
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_only_the_caller_above_its_rate_limit_is_refused(secured: SecuredServer) -> None:
    with secured.channel() as channel:
        call = channel.unary_unary("/linnaeus.v1.ClassifierService/ListModels")
        codes = [_code(call, secured.tokens["greedy"]) for _ in range(BURST + 3)]
        assert codes == [grpc.StatusCode.OK] * BURST + [grpc.StatusCode.RESOURCE_EXHAUSTED] * 3
        assert _code(call, secured.tokens["camera"]) is grpc.StatusCode.OK


@pytest.mark.parametrize("how", ["file", "environment"])
def test_the_client_command_sends_token_and_certificate(
    secured: SecuredServer, pictures: Path, tmp_path: Path, how: str
) -> None:
    certificate, key = secured.own.write(tmp_path, "client")
    (tmp_path / "token").write_text(secured.tokens["shell"] + "\n")
    command = [sys.executable, "-c", COMMAND, "--server", secured.process.target]
    command += ["--tls-ca", str(secured.folder / "ca.pem"), "--tls-server-name", NAME]
    command += ["--tls-certificate", str(certificate), "--tls-key", str(key)]
    environment = {**os.environ, "LINNAEUS_TOKEN": secured.tokens["shell"] if how == "environment" else ""}
    if how == "file":
        command += ["--token-file", str(tmp_path / "token")]
    command += ["classify", str(pictures / "digits" / "4.png"), "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]["classes"][0]["label"] == "4"


def test_secrets_are_in_no_log_metric_or_process_list(secured: SecuredServer) -> None:
    """Runs last: by then every kind of caller has called, with log level debug."""
    process = Path("/proc", str(secured.process.child.pid))
    with urllib.request.urlopen(secured.process.metrics_url, timeout=60) as page:
        shown = page.read().decode()
    shown += json.dumps(secured.process.logs) + (process / "cmdline").read_text() + (process / "environ").read_text()
    key_lines = (secured.folder / "server-key.pem").read_text().splitlines()[1:-1]
    for secret in (*secured.tokens.values(), *key_lines, "not-one-of-the-server-s-tokens"):
        assert secret not in shown
    # confirms that these are this server's logs and metrics
    assert 'grpc_code="UNAUTHENTICATED"' in shown and "tokens" in shown


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
