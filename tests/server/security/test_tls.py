"""Who is who on an encrypted connection, and how certificates are exchanged while the server runs."""

import logging
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from tests.certificates import Authority, Pair

from linnaeus.server.errors import StartupError
from linnaeus.server.security.caller_identity import caller_identity
from linnaeus.server.security.listen_address import Address, listen
from linnaeus.server.security.tls import Certificates, TlsFiles

NAME = "linnaeus.example"


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def stranger() -> Authority:
    return Authority()


@pytest.fixture
def files(tmp_path: Path, authority: Authority) -> TlsFiles:
    certificate, key = authority.issue(NAME).write(tmp_path)
    return TlsFiles(str(certificate), str(key))


async def _serving(files: TlsFiles) -> AsyncIterator[str]:
    server, certificates = grpc.aio.server(), Certificates(files)
    health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)
    port = listen(server, Address("127.0.0.1", 0), certificates)
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(None)


@pytest.fixture
async def target(files: TlsFiles) -> AsyncIterator[str]:
    async for made in _serving(files):
        yield made


@pytest.fixture
async def mutual(files: TlsFiles, authority: Authority, tmp_path: Path) -> AsyncIterator[str]:
    (tmp_path / "ca.pem").write_bytes(authority.certificate)
    async for made in _serving(TlsFiles(files.certificate, files.key, str(tmp_path / "ca.pem"))):
        yield made


async def ask(target: str, ca: bytes, own: Pair | None = None) -> grpc.StatusCode:
    """Asks over a new connection; UNAVAILABLE where either side refuses the other's certificate."""
    pair: Any = (None, None) if own is None else (own.key, own.certificate)
    credentials = grpc.ssl_channel_credentials(ca, *pair)
    options = [("grpc.ssl_target_name_override", NAME), ("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.secure_channel(target, credentials, options) as channel:
        try:
            await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=20)
        except grpc.aio.AioRpcError as error:
            return error.code()
    return grpc.StatusCode.OK


def put(content: bytes, path: str) -> None:
    """Replaces a file whole, as Kubernetes does."""
    Path(path + ".new").write_bytes(content)
    os.replace(path + ".new", path)


async def test_a_client_that_trusts_the_authority_is_answered_another_one_is_not(
    target: str, authority: Authority, stranger: Authority
) -> None:
    assert await ask(target, authority.certificate) is grpc.StatusCode.OK
    assert await ask(target, stranger.certificate) is grpc.StatusCode.UNAVAILABLE


async def test_certificates_are_exchanged_without_a_new_start(
    target: str, files: TlsFiles, authority: Authority, stranger: Authority
) -> None:
    assert await ask(target, stranger.certificate) is grpc.StatusCode.UNAVAILABLE
    new = stranger.issue(NAME)
    put(new.key, files.key)
    put(new.certificate, files.certificate)
    assert await ask(target, stranger.certificate) is grpc.StatusCode.OK
    assert await ask(target, authority.certificate) is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("half", ["certificate", "key"])
async def test_half_of_a_new_pair_leaves_the_old_in_use_and_says_so_once(
    target: str, files: TlsFiles, authority: Authority, stranger: Authority, half: str, caplog: pytest.LogCaptureFixture
) -> None:
    new, other = stranger.issue(NAME), {"certificate": "key", "key": "certificate"}[half]
    put(getattr(new, half), getattr(files, half))
    for _ in range(2):
        assert await ask(target, authority.certificate) is grpc.StatusCode.OK
    told = [record for record in caplog.records if "the old certificate stays in use" in record.getMessage()]
    assert len(told) == 1 and told[0].levelno == logging.ERROR and "cannot be used together" in told[0].getMessage()
    put(getattr(new, other), getattr(files, other))
    assert await ask(target, stranger.certificate) is grpc.StatusCode.OK


async def test_a_broken_or_missing_file_leaves_the_old_in_use(
    target: str, files: TlsFiles, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    put(Path(files.certificate).read_bytes()[:200], files.certificate)
    assert await ask(target, authority.certificate) is grpc.StatusCode.OK
    os.unlink(files.certificate)
    assert await ask(target, authority.certificate) is grpc.StatusCode.OK
    assert f"the file {files.certificate} cannot be read" in caplog.text


@pytest.mark.parametrize("how", ["its own", "none", "expired", "of a stranger"])
async def test_mutual_tls_takes_clients_of_its_authority_only(
    mutual: str, authority: Authority, stranger: Authority, how: str
) -> None:
    own = {
        "its own": authority.issue("client.example"),
        "none": None,
        "expired": authority.issue("client.example", expired=True),
        "of a stranger": stranger.issue("client.example"),
    }[how]
    expected = grpc.StatusCode.OK if how == "its own" else grpc.StatusCode.UNAVAILABLE
    assert await ask(mutual, authority.certificate, own) is expected


async def test_the_clients_authority_is_exchanged_too(
    mutual: str, files: TlsFiles, authority: Authority, stranger: Authority
) -> None:
    put(stranger.certificate, str(Path(files.certificate).with_name("ca.pem")))
    assert await ask(mutual, authority.certificate, stranger.issue("client.example")) is grpc.StatusCode.OK
    assert await ask(mutual, authority.certificate, authority.issue("client.example")) is grpc.StatusCode.UNAVAILABLE


async def test_callers_are_told_apart_by_their_certificates(files: TlsFiles, authority: Authority) -> None:
    class Named(health_pb2_grpc.HealthServicer):
        async def Check(self, request: Any, context: Any) -> health_pb2.HealthCheckResponse:
            names.append(caller_identity(context))
            return health_pb2.HealthCheckResponse()

    names: list[str] = []
    ca = Path(files.certificate).with_name("ca.pem")
    ca.write_bytes(authority.certificate)
    server, certificates = grpc.aio.server(), Certificates(TlsFiles(files.certificate, files.key, str(ca)))
    health_pb2_grpc.add_HealthServicer_to_server(Named(), server)
    port = listen(server, Address("127.0.0.1", 0), certificates)
    await server.start()
    for name in ("a.example", "b.example"):
        assert await ask(f"127.0.0.1:{port}", authority.certificate, authority.issue(name)) is grpc.StatusCode.OK
    await server.stop(None)
    assert names == ["certificate:a.example", "certificate:b.example"]


@pytest.mark.parametrize("wrong", ["certificate", "key", "client_ca"])
def test_files_that_cannot_be_used_end_the_start_and_no_key_is_shown(
    files: TlsFiles, tmp_path: Path, wrong: str
) -> None:
    (tmp_path / "wrong.pem").write_text("SECRET\n")
    named = {"certificate": files.certificate, "key": files.key, "client_ca": ""}
    for path in (tmp_path / "wrong.pem", tmp_path / "nowhere.pem"):
        with pytest.raises(StartupError, match=f"^TLS: .*{path.name}") as refused:
            Certificates(TlsFiles(**(named | {wrong: str(path)})))
        assert "SECRET" not in str(refused.value)
