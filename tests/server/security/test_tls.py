"""TLS authenticates server and clients, and certificates are replaced while the server runs."""

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
from linnaeus.server.security.caller_identity import certificate_name
from linnaeus.server.security.listen_address import Address, listen
from linnaeus.server.security.tls import Certificates, TlsFiles

NAME = "linnaeus.example"


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def other_authority() -> Authority:
    return Authority()


@pytest.fixture
def files(tmp_path: Path, authority: Authority) -> TlsFiles:
    certificate, key = authority.issue(NAME).write(tmp_path)
    return TlsFiles(str(certificate), str(key))


async def _serve(files: TlsFiles) -> AsyncIterator[str]:
    server, certificates = grpc.aio.server(), Certificates(files)
    health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)
    port = listen(server, Address("127.0.0.1", 0), certificates)
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(None)


@pytest.fixture
async def target(files: TlsFiles) -> AsyncIterator[str]:
    async for address in _serve(files):
        yield address


@pytest.fixture
async def mutual(files: TlsFiles, authority: Authority, tmp_path: Path) -> AsyncIterator[str]:
    (tmp_path / "ca.pem").write_bytes(authority.certificate)
    async for address in _serve(TlsFiles(files.certificate, files.key, str(tmp_path / "ca.pem"))):
        yield address


async def check(target: str, ca: bytes, own: Pair | None = None) -> grpc.StatusCode:
    """Checks the health over a new connection; UNAVAILABLE if either side refuses the other's certificate."""
    pair: Any = (None, None) if own is None else (own.key, own.certificate)
    credentials = grpc.ssl_channel_credentials(ca, *pair)
    options = [("grpc.ssl_target_name_override", NAME), ("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.secure_channel(target, credentials, options) as channel:
        try:
            await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=20)
        except grpc.aio.AioRpcError as error:
            return error.code()
    return grpc.StatusCode.OK


async def test_files_from_windows_encrypt_as_they_are_meant(
    files: TlsFiles, authority: Authority, tmp_path: Path
) -> None:
    for path in (files.certificate, files.key):
        Path(path).write_bytes(b"\xef\xbb\xbf" + Path(path).read_bytes().replace(b"\n", b"\r\n"))
    async for address in _serve(files):
        assert await check(address, authority.certificate) is grpc.StatusCode.OK


def replace(content: bytes, path: str) -> None:
    """Replaces a file atomically, as Kubernetes does."""
    Path(path + ".new").write_bytes(content)
    os.replace(path + ".new", path)


async def test_only_a_client_that_trusts_the_authority_can_connect(
    target: str, authority: Authority, other_authority: Authority
) -> None:
    assert await check(target, authority.certificate) is grpc.StatusCode.OK
    assert await check(target, other_authority.certificate) is grpc.StatusCode.UNAVAILABLE


async def test_certificates_are_replaced_without_a_restart(
    target: str, files: TlsFiles, authority: Authority, other_authority: Authority
) -> None:
    assert await check(target, other_authority.certificate) is grpc.StatusCode.UNAVAILABLE
    new = other_authority.issue(NAME)
    replace(new.key, files.key)
    replace(new.certificate, files.certificate)
    assert await check(target, other_authority.certificate) is grpc.StatusCode.OK
    assert await check(target, authority.certificate) is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("half", ["certificate", "key"])
async def test_half_of_a_new_pair_keeps_the_old_one_in_use_and_is_logged_once(
    target: str,
    files: TlsFiles,
    authority: Authority,
    other_authority: Authority,
    half: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    new, other = other_authority.issue(NAME), {"certificate": "key", "key": "certificate"}[half]
    replace(getattr(new, half), getattr(files, half))
    for _ in range(2):
        assert await check(target, authority.certificate) is grpc.StatusCode.OK
    [error] = [record for record in caplog.records if "the old certificate stays in use" in record.getMessage()]
    assert error.levelno == logging.ERROR and "cannot be used together" in error.getMessage()
    replace(getattr(new, other), getattr(files, other))
    assert await check(target, other_authority.certificate) is grpc.StatusCode.OK


async def test_a_broken_or_missing_file_keeps_the_old_certificate_in_use(
    target: str, files: TlsFiles, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    replace(Path(files.certificate).read_bytes()[:200], files.certificate)
    assert await check(target, authority.certificate) is grpc.StatusCode.OK
    os.unlink(files.certificate)
    assert await check(target, authority.certificate) is grpc.StatusCode.OK
    assert f"the file {files.certificate} cannot be read" in caplog.text


@pytest.mark.parametrize("issuer", ["the authority", "none", "expired", "of another authority"])
async def test_mutual_tls_accepts_only_clients_of_its_authority(
    mutual: str, authority: Authority, other_authority: Authority, issuer: str
) -> None:
    own = {
        "the authority": authority.issue("client.example"),
        "none": None,
        "expired": authority.issue("client.example", expired=True),
        "of another authority": other_authority.issue("client.example"),
    }[issuer]
    expected = grpc.StatusCode.OK if issuer == "the authority" else grpc.StatusCode.UNAVAILABLE
    assert await check(mutual, authority.certificate, own) is expected


async def test_the_authority_of_clients_is_replaced_without_a_restart(
    mutual: str, files: TlsFiles, authority: Authority, other_authority: Authority
) -> None:
    replace(other_authority.certificate, str(Path(files.certificate).with_name("ca.pem")))
    assert await check(mutual, authority.certificate, other_authority.issue("client.example")) is grpc.StatusCode.OK
    assert await check(mutual, authority.certificate, authority.issue("client.example")) is grpc.StatusCode.UNAVAILABLE


async def test_callers_are_identified_by_their_certificates(files: TlsFiles, authority: Authority) -> None:
    class RecordingHealthServicer(health_pb2_grpc.HealthServicer):
        async def Check(self, request: Any, context: Any) -> health_pb2.HealthCheckResponse:
            names.append(certificate_name(context))
            return health_pb2.HealthCheckResponse()

    names: list[str] = []
    ca = Path(files.certificate).with_name("ca.pem")
    ca.write_bytes(authority.certificate)
    server, certificates = grpc.aio.server(), Certificates(TlsFiles(files.certificate, files.key, str(ca)))
    health_pb2_grpc.add_HealthServicer_to_server(RecordingHealthServicer(), server)
    port = listen(server, Address("127.0.0.1", 0), certificates)
    await server.start()
    for name in ("a.example", "b.example"):
        assert await check(f"127.0.0.1:{port}", authority.certificate, authority.issue(name)) is grpc.StatusCode.OK
    await server.stop(None)
    assert names == ["certificate:a.example", "certificate:b.example"]


@pytest.mark.parametrize("wrong", ["certificate", "key", "client_ca"])
def test_invalid_files_are_startup_errors_that_do_not_quote_the_key(
    files: TlsFiles, tmp_path: Path, wrong: str
) -> None:
    (tmp_path / "wrong.pem").write_text("SECRET\n")
    named = {"certificate": files.certificate, "key": files.key, "client_ca": ""}
    for path in (tmp_path / "wrong.pem", tmp_path / "nowhere.pem"):
        with pytest.raises(StartupError, match=f"^TLS: .*{path.name}") as refused:
            Certificates(TlsFiles(**(named | {wrong: str(path)})))
        assert "SECRET" not in str(refused.value)
