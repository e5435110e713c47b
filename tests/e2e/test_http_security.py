"""HTTP with TLS, certificates, tokens and rates: those of gRPC, and one caller is the same by both."""

import json
import secrets
import socket
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path

import grpc
import pytest
from tests.certificates import Authority, Pair
from tests.e2e.forked_server import ForkedServer
from tests.e2e.http_calls import Answer, send_on
from tests.e2e.several_processes import until

from linnaeus.server.rpc.child_server import ServerProcess
from linnaeus.v1 import classifier_pb2 as v1
from linnaeus.v1.classifier_pb2_grpc import ClassifierServiceStub

pytestmark = pytest.mark.slow

NAME = "linnaeus.example"
CLASSIFY = "/v1/models/lenet:classify"
BURST = 3
# Names in certificates as both protocols must read them.
NAMES = [
    ("camera.example",),
    ("10.1.2.3",),
    ("2001:db8::1",),
    ("someone@example.org",),
    ("b.example", "a.example", "::1"),
]


@dataclass(frozen=True)
class Secured:
    """A server with TLS that asks for certificates, and what its callers need."""

    process: ServerProcess
    authority: Authority
    folder: Path
    tokens: dict[str, str]

    def context(self, own: Pair | None) -> ssl.SSLContext:
        context = ssl.create_default_context(cadata=self.authority.certificate.decode())
        if own is not None:
            with tempfile.TemporaryDirectory() as folder:
                context.load_cert_chain(*own.write(Path(folder)))
        return context

    def connection(self, own: Pair | None = None, context: ssl.SSLContext | None = None) -> "Https":
        return Https(self.process.http_port, context or self.context(own or self.authority.issue("client.example")))

    def send(
        self, path: str, method: str = "GET", body: bytes | None = None, own: Pair | None = None, token: str = ""
    ) -> Answer:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        with closing(self.connection(own)) as connection:
            return send_on(connection, path, method, body, **headers)

    def grpc_code(self, own: Pair) -> grpc.StatusCode:
        """Asks for the models by gRPC, and returns the code."""
        credentials = grpc.ssl_channel_credentials(self.authority.certificate, own.key, own.certificate)
        options = [("grpc.ssl_target_name_override", NAME), ("grpc.use_local_subchannel_pool", 1)]
        with grpc.secure_channel(self.process.target, credentials, options) as channel:
            try:
                ClassifierServiceStub(channel).ListModels(v1.ListModelsRequest(), timeout=30)
            except grpc.RpcError as error:
                return error.code()
            return grpc.StatusCode.OK


class Https(HTTPSConnection):
    """A connection to a port of this machine by the name in the server's certificate."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        super().__init__(NAME, port, timeout=30, context=context)
        self._tls = context

    def connect(self) -> None:
        self.sock = self._tls.wrap_socket(socket.create_connection(("127.0.0.1", self.port), 30), server_hostname=NAME)


def start(repository: Path, folder: Path, *options: str) -> Secured:
    authority = Authority()
    certificate, key = authority.issue(NAME).write(folder)
    (folder / "ca.pem").write_bytes(authority.certificate)
    arguments = ["--repository", str(repository), "--models", "lenet", "--http-port", "0"]
    arguments += [
        "--tls-certificate",
        str(certificate),
        "--tls-key",
        str(key),
        "--tls-client-ca",
        str(folder / "ca.pem"),
    ]
    return Secured(ForkedServer(*arguments, *options), authority, folder, {})


@pytest.fixture(scope="module")
def tokens() -> dict[str, str]:
    return {name: secrets.token_urlsafe(24) for name in ("camera", "boss", "greedy")}


@pytest.fixture(scope="module", params=["0", "2"])
def secured(
    request: pytest.FixtureRequest, repository: Path, tmp_path_factory: pytest.TempPathFactory, tokens: dict[str, str]
) -> Iterator[Secured]:
    """A server with tokens, and a rate that `greedy` exceeds."""
    folder = tmp_path_factory.mktemp("locks")
    (folder / "tokens").write_text(
        "".join(f"{n} {'admin' if n == 'boss' else 'infer'} {t}\n" for n, t in tokens.items())
    )
    options = ("--token-file", str(folder / "tokens"), "--rate-limit", "0.01", "--rate-burst", "40")
    made = start(repository, folder, *options, "--front-ends", request.param)
    with made.process:
        yield Secured(made.process, made.authority, folder, tokens)


@pytest.fixture(scope="module", params=["0", "2"])
def rated(
    request: pytest.FixtureRequest, repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Secured]:
    """A server whose callers are known by their certificates, and soon exceed their rates."""
    rates = ("--rate-limit", "0.001", "--rate-burst", str(BURST))
    made = start(repository, tmp_path_factory.mktemp("rates"), *rates, "--front-ends", request.param)
    with made.process:
        yield made


@pytest.fixture
def digit(pictures: Path) -> bytes:
    return (pictures / "digits" / "4.png").read_bytes()


def test_a_caller_with_certificate_and_token_is_answered(secured: Secured, digit: bytes) -> None:
    answer = secured.send(CLASSIFY, "POST", digit, token=secured.tokens["camera"])
    assert answer.status == 200 and answer.json["classes"][0]["label"] == "4"


def test_a_token_is_asked_for_and_rights_are_kept(secured: Secured, digit: bytes) -> None:
    for token in ("", "not-one-of-them"):
        answer = secured.send(CLASSIFY, "POST", digit, token=token)
        assert answer.status == 401 and answer.headers["www-authenticate"] == "Bearer"
        assert answer.json["code"] == "UNAUTHENTICATED" and answer.json["details"][0]["reason"] == "TOKEN_NEEDED"
        assert not token or token not in json.dumps(answer.json)
    load = "/v1/models/lenet:load"
    assert secured.send(load, "POST", b"", token=secured.tokens["boss"]).status == 200
    denied = secured.send(load, "POST", b"", token=secured.tokens["camera"])
    assert denied.status == 403 and denied.json["details"][0]["reason"] == "RIGHT_MISSING"
    assert "camera" in denied.json["detail"] and "admin" in denied.json["detail"]
    for probe in ("/livez", "/readyz", "/"):
        assert secured.send(probe).status == 200


def test_only_the_caller_above_its_rate_is_refused_and_told_when_to_come_again(secured: Secured) -> None:
    greedy = secured.tokens["greedy"]
    with closing(secured.connection()) as connection:
        answers = [send_on(connection, "/v1/models", Authorization=f"Bearer {greedy}") for _ in range(43)]
    assert [answer.status for answer in answers] == [200] * 40 + [429] * 3
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 100
    assert answers[-1].json["code"] == "RESOURCE_EXHAUSTED"
    assert secured.send("/v1/models", token=secured.tokens["boss"]).status == 200


@pytest.mark.parametrize("how", ["expired", "of a stranger", "none"])
def test_a_caller_without_a_valid_certificate_is_not_answered(secured: Secured, how: str) -> None:
    own = {
        "expired": secured.authority.issue("client.example", expired=True),
        "of a stranger": Authority().issue("client.example"),
        "none": None,
    }[how]
    with closing(secured.connection(context=secured.context(own))) as connection, pytest.raises(OSError):
        send_on(connection, "/livez")


def test_old_releases_of_tls_and_plain_http_are_refused_and_fill_no_log(secured: Secured) -> None:
    before = len(secured.process.logs)
    old = secured.context(secured.authority.issue("client.example"))
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    for _ in range(20):
        with closing(secured.connection(context=old)) as connection, pytest.raises(OSError):
            send_on(connection, "/livez")
        with (
            closing(HTTPConnection("127.0.0.1", secured.process.http_port, timeout=30)) as plain,
            pytest.raises(Exception),  # noqa: B017  # http.client's own, or the socket's
        ):
            send_on(plain, "/livez")
    assert secured.send("/livez").status == 200
    assert secured.process.logs[before:] == []


def test_a_new_certificate_is_used_by_the_next_handshake(secured: Secured) -> None:
    """Runs behind the tests of the old one."""
    before = certificate_of(secured)
    with closing(secured.connection()) as connection:
        assert send_on(connection, "/livez").status == 200
        secured.authority.issue(NAME).write(secured.folder)
        until(lambda: certificate_of(secured) not in (before, b""))
        assert send_on(connection, "/livez").status == 200  # connections stay
    (secured.folder / "server.pem").write_text("no certificate")
    assert certificate_of(secured)  # the last valid one


def test_a_withdrawn_token_is_refused(secured: Secured) -> None:
    """Runs last."""
    camera = secured.tokens["camera"]
    assert secured.send("/v1/models", token=camera).status == 200
    (secured.folder / "tokens").write_text(f"boss admin {secured.tokens['boss']}\n")
    until(lambda: secured.send("/v1/models", token=camera).status == 401)


@pytest.mark.parametrize("names", NAMES, ids=lambda names: names[0])
def test_a_certificate_is_the_same_caller_by_grpc_and_by_http(rated: Secured, names: tuple[str, ...]) -> None:
    """Its calls by both count together, and those of another certificate do not."""
    own = rated.authority.issue(*names)
    assert [rated.grpc_code(own) for _ in range(BURST - 1)] == [grpc.StatusCode.OK] * (BURST - 1)
    assert [rated.send("/v1/models", own=own).status for _ in range(2)] == [200, 429]
    assert rated.grpc_code(own) is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert rated.send("/v1/models", own=rated.authority.issue(f"another-than-{secrets.token_hex(4)}")).status == 200


def certificate_of(secured: Secured) -> bytes:
    """Returns the server's certificate by HTTPS; nothing if there is none yet that goes with its key."""
    with closing(secured.connection()) as connection, suppress(OSError):
        connection.connect()
        return connection.sock.getpeercert(binary_form=True) or b""
    return b""
