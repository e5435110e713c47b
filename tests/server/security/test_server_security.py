"""Settings that leave the server open, or contradict each other, end the start with what to do about it."""

import logging
from pathlib import Path
from typing import Any

import pytest
from tests.certificates import Authority

from linnaeus.server.config.settings import Settings
from linnaeus.server.errors import StartupError
from linnaeus.server.security.listen_address import Address
from linnaeus.server.security.server_security import rate_limiter, server_security


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    certificate, key = Authority().issue("linnaeus.example").write(tmp_path_factory.mktemp("tls"))
    return {"tls_certificate": str(certificate), "tls_key": str(key)}


@pytest.fixture
def token_file(tmp_path: Path) -> str:
    path = tmp_path / "tokens"
    path.write_text("camera infer a-token-of-some-length\n")
    return str(path)


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "192.0.2.1", "", "linnaeus.example", "127.example", "::ffff:0.0.0.0"]
)
def test_without_tls_other_machines_are_kept_out_unless_the_operator_says_so(
    host: str, tls: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(StartupError, match=r"without TLS lets everybody .* or say --insecure"):
        server_security(Settings(host=host))
    assert not caplog.records
    assert server_security(Settings(host=host, insecure=True)).certificates is None
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert server_security(Settings(host=host, **tls)).certificates is not None


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_this_machine_alone_needs_no_tls(host: str, caplog: pytest.LogCaptureFixture) -> None:
    assert server_security(Settings(host=host)).address == Address(host, 8001)
    assert not caplog.records


def test_tokens_do_not_travel_in_the_clear_unless_the_operator_says_so(
    token_file: str, tls: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(StartupError, match="without TLS, tokens travel readable by all"):
        server_security(Settings(token_file=token_file))
    assert server_security(Settings(token_file=token_file, insecure=True)).authorizer is not None
    assert "tokens travel readable by all" in caplog.text
    assert server_security(Settings(token_file=token_file, **tls)).authorizer is not None


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ({"tls_certificate": "a.pem"}, "tls_certificate and tls_key belong together"),
        ({"tls_key": "a.pem"}, "tls_certificate and tls_key belong together"),
        ({"tls_client_ca": "a.pem"}, "tls_client_ca asks clients for certificates"),
        ({"tls_certificate": "a.pem", "tls_key": "b.pem"}, "the file a.pem cannot be read"),
        ({"token_file": "nowhere", "insecure": True}, "the token file nowhere cannot be used"),
    ],
)
def test_half_a_lock_ends_the_start(chosen: dict[str, Any], said: str) -> None:
    with pytest.raises(StartupError, match=said):
        server_security(Settings(**chosen))


def test_without_tokens_and_rates_there_is_no_authorizer() -> None:
    assert server_security(Settings()).authorizer is None
    assert server_security(Settings(rate_limit=5)).authorizer is not None


@pytest.mark.parametrize(
    ("chosen", "at_once"),
    [({"rate_limit": 0.01}, 1), ({"rate_limit": 3}, 3), ({"rate_limit": 0.01, "rate_burst": 7}, 7)],
)
def test_a_burst_is_a_second_s_worth_unless_it_is_said(chosen: dict[str, Any], at_once: int) -> None:
    limiter = rate_limiter(Settings(**chosen))
    assert limiter is not None and limiter.take("caller", at_once) == 0.0
    assert limiter.take("caller") > 0.0


def test_the_health_port_has_an_address_of_its_own() -> None:
    assert server_security(Settings()).health is None
    assert server_security(Settings(health_port=0)).health == Address("127.0.0.1", 0)
    assert server_security(Settings(health_host="0.0.0.0", health_port=8003)).health == Address("0.0.0.0", 8003)
    assert str(Address("::1", 1)) == "[::1]:1"
