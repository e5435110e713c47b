"""TLS and tokens: what is sent, what is refused before that, and that no token or key is ever shown."""

from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from tests.certificates import Authority

from linnaeus.client import AsyncClient, Client, PermissionDenied, Unauthenticated, Unavailable
from linnaeus.client.transport.addresses import parse_addresses
from linnaeus.client.transport.tls import Tls
from linnaeus.client.transport.tokens import call_metadata, read_token
from linnaeus.v1.classifier_pb2_grpc import add_ClassifierServiceServicer_to_server

TOKEN = "abc.DEF-123_~+/=="
NAME = "linnaeus.example"


def sent_authorization(stub, make_answer) -> list[str]:
    """Records the `authorization` metadata of every call."""
    sent: list[str] = []

    def behaviour(request, context):
        sent.append(dict(context.invocation_metadata()).get("authorization", ""))
        return make_answer(request)

    stub.on_classify = behaviour
    return sent


def test_a_token_is_sent_with_every_call(stub, make_answer):
    sent = sent_authorization(stub, make_answer)
    with Client(stub.target, token=TOKEN, hedging=True) as client:
        client.classify(b"a picture")
    with Client(stub.target, token=TOKEN) as client:
        client.classify(b"a picture")
    with Client(stub.target) as client:
        client.classify(b"a picture")
    assert sent == [f"Bearer {TOKEN}", f"Bearer {TOKEN}", ""]


async def test_the_asyncio_client_sends_it_too(stub, make_answer):
    sent = sent_authorization(stub, make_answer)
    async with AsyncClient(stub.target, token=TOKEN) as client:
        await client.classify(b"a picture")
    assert sent == [f"Bearer {TOKEN}"]


@pytest.mark.parametrize("make", [Client, AsyncClient])
@pytest.mark.parametrize("target", ["linnaeus.example:8001", "192.0.2.1:8001", ["localhost:1", "192.0.2.1:1"]])
def test_a_token_is_not_sent_unencrypted_to_another_machine(make, target):
    with pytest.raises(ValueError, match=r"would travel readable by all: pass tls=True") as raised:
        make(target, token=TOKEN)
    assert TOKEN not in str(raised.value)


@pytest.mark.parametrize("target", ["localhost:1", "127.0.0.1:1", "[::1]:1", "unix:/run/linnaeus.sock"])
def test_a_token_to_this_machine_needs_no_encryption(target):
    assert call_metadata(TOKEN, parse_addresses(target), None) == (("authorization", f"Bearer {TOKEN}"),)
    Client(target, token=TOKEN).close()


def test_a_token_to_another_machine_needs_encryption_only():
    elsewhere = parse_addresses("linnaeus.example:8001")
    assert call_metadata(TOKEN, elsewhere, Tls()) == (("authorization", f"Bearer {TOKEN}"),)
    Client("linnaeus.example:8001", token=TOKEN, tls=True).close()


@pytest.mark.parametrize("token", ["", "two words", "line\nend", "gr\u00fcn", 7, b"bytes"])
def test_a_malformed_token_is_refused_and_not_shown(token):
    with pytest.raises(ValueError, match="token must be letters, digits") as raised:
        Client("localhost:8001", token=token)
    assert not token or str(token) not in str(raised.value)


def test_no_representation_shows_a_token():
    client = Client("localhost:8001", token=TOKEN)
    assert TOKEN not in repr(client) + repr(client._config)
    client.close()


@pytest.fixture(scope="module")
def authority():
    return Authority()


@pytest.fixture(scope="module")
def certificate(authority, tmp_path_factory):
    """The files of a key and a certificate for NAME, which client and server use."""
    certificate, key = authority.issue(NAME).write(tmp_path_factory.mktemp("certificate"))
    return key, certificate


@pytest.fixture(params=[False, True], ids=["anybody", "clients with a certificate"])
def encrypted(request, stub, certificate, authority):
    """The stub server behind TLS, with and without client certificates."""
    pair = tuple(path.read_bytes() for path in certificate)
    ca = authority.certificate if request.param else None
    credentials = grpc.ssl_server_credentials([pair], ca, request.param)
    with ThreadPoolExecutor(4) as threads:
        server = grpc.server(threads, options=[("grpc.so_reuseport", 0)])
        add_ClassifierServiceServicer_to_server(stub, server)
        target = f"127.0.0.1:{server.add_secure_port('127.0.0.1:0', credentials)}"
        server.start()
        yield target
        server.stop(grace=None).wait()


def test_client_and_server_authenticate_each_other(encrypted, stub, certificate, authority):
    key, own = certificate
    with Client(
        encrypted, tls=Tls(ca=authority.certificate, certificate=own, key=key, server_name=NAME), token=TOKEN
    ) as client:
        client.classify(b"a picture")
    assert len(stub.images) == 1


async def test_the_asyncio_client_does_so_too(encrypted, stub, certificate, authority):
    key, own = (path.read_bytes() for path in certificate)
    async with AsyncClient(
        encrypted, tls=Tls(ca=authority.certificate, certificate=own, key=key, server_name=NAME)
    ) as client:
        await client.classify(b"a picture")
    assert len(stub.images) == 1


@pytest.mark.parametrize("how", ["unknown authority", "wrong name", "no encryption"])
def test_a_server_without_a_valid_certificate_is_refused(encrypted, stub, authority, how):
    tls = {"unknown authority": True, "wrong name": Tls(ca=authority.certificate), "no encryption": False}[how]
    with Client(encrypted, tls=tls) as client, pytest.raises(Unavailable):
        client.classify(b"a picture")
    assert stub.requests == []


def test_a_certificate_without_its_key_is_refused():
    for half in (dict(certificate=b"a"), dict(key=b"a")):
        with pytest.raises(ValueError, match="pass both or neither"):
            Tls(**half)


def test_a_byte_order_mark_is_no_part_of_a_certificate(tmp_path, monkeypatch):
    given = {}
    monkeypatch.setattr(grpc, "ssl_channel_credentials", lambda **files: given.update(files))
    (tmp_path / "ca.pem").write_bytes(b"\xef\xbb\xbf-----BEGIN CERTIFICATE-----")
    Tls(ca=tmp_path / "ca.pem").credentials()
    assert given["root_certificates"] == b"-----BEGIN CERTIFICATE-----"


def test_a_file_that_is_missing_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"tls: the file for ca cannot be read: .*missing\.pem: No such file"):
        Client("localhost:8001", tls=Tls(ca=tmp_path / "missing.pem"))


def test_tls_is_a_bool_or_a_tls_value():
    with pytest.raises(ValueError, match="tls must be True, False or a Tls value"):
        Client("localhost:8001", tls="certificate.pem")


def test_no_representation_shows_a_key():
    assert "SECRET" not in repr(Tls(certificate=b"c", key=b"SECRET"))


@pytest.mark.parametrize("content", [TOKEN, f"{TOKEN}\n", f"  {TOKEN}\r\n\n"])
async def test_a_token_may_come_from_a_file(stub, make_answer, tmp_path, content):
    (tmp_path / "token").write_text(content)
    sent = sent_authorization(stub, make_answer)
    with Client(stub.target, token_file=tmp_path / "token") as client:
        client.classify(b"a picture")
    async with AsyncClient(stub.target, token_file=str(tmp_path / "token")) as client:
        await client.classify(b"a picture")
    assert sent == [f"Bearer {TOKEN}"] * 2


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n", b"\r\n\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_token_file_from_windows_is_read_as_it_is_meant(tmp_path, mark, end):
    (tmp_path / "token").write_bytes(mark + TOKEN.encode() + end)
    assert read_token(None, tmp_path / "token") == TOKEN
    (tmp_path / "token").write_bytes(TOKEN.encode("utf-16"))
    with pytest.raises(ValueError, match="one token and nothing else: it is UTF-16"):
        read_token(None, tmp_path / "token")


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"SECRET one\n", b"SECRET\nSECRET2\n", b"SECR\xc3\x89T", b"SECRET" * 9000]
)
def test_a_file_that_holds_no_token_or_more_is_named_and_not_shown(tmp_path, content):
    (tmp_path / "token").write_bytes(content)
    with pytest.raises(ValueError, match="token must hold one token and nothing else") as raised:
        Client("localhost:1", token_file=tmp_path / "token")
    assert "SECR" not in str(raised.value)


def test_a_token_file_that_is_missing_or_one_too_many_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"token_file cannot be read: .*nowhere: No such file"):
        Client("localhost:1", token_file=tmp_path / "nowhere")
    with pytest.raises(ValueError, match="pass token or token_file, not both"):
        Client("localhost:1", token=TOKEN, token_file=tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("code", "error"),
    [(grpc.StatusCode.UNAUTHENTICATED, Unauthenticated), (grpc.StatusCode.PERMISSION_DENIED, PermissionDenied)],
)
def test_a_refused_caller_gets_the_servers_reason(stub, code, error):
    def behaviour(request, context):
        context.abort(code, "The server's own sentence.")

    stub.on_classify = behaviour
    with Client(stub.target) as client, pytest.raises(error, match="^The server's own sentence.$"):
        client.classify(b"a picture")
    assert len(stub.requests) == 1  # a retry would fail the same way
