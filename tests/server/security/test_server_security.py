"""Insecure or contradictory settings are startup errors whose message names the remedy."""

from pathlib import Path
from typing import Any

import pytest
from tests.certificates import Authority

from linnaeus.server.config.settings import Settings
from linnaeus.server.errors import StartupError
from linnaeus.server.security.charging import charging
from linnaeus.server.security.listen_address import Address
from linnaeus.server.security.rate_limit import rate_limiter
from linnaeus.server.security.server_security import byte_budget, server_security


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
def test_listening_beyond_this_machine_requires_tls_or_the_flag_insecure(host: str, tls: dict[str, str]) -> None:
    with pytest.raises(StartupError, match=r"without TLS lets everybody .* or say --insecure"):
        server_security(Settings(host=host))
    allowed = server_security(Settings(host=host, insecure=True))
    assert allowed.certificates is None and "lets everybody" in allowed.risks[0] and len(allowed.risks) == 1
    assert server_security(Settings(host=host, **tls)).certificates is not None


def test_http_beyond_this_machine_requires_tls_or_the_flag_insecure(tls: dict[str, str]) -> None:
    with pytest.raises(StartupError, match=r"listening on 0\.0\.0\.0 without TLS lets everybody .* or say --insecure"):
        server_security(Settings(http_host="0.0.0.0"))
    assert len(server_security(Settings(http_host="0.0.0.0", host="::", insecure=True)).risks) == 2
    assert not server_security(Settings(http_host="0.0.0.0", **tls)).risks
    assert not server_security(Settings(http_host="0.0.0.0", http_port=-1)).risks
    with pytest.raises(StartupError, match="tokens travel readable by all"):
        server_security(Settings(host="unix:/tmp/linnaeus.socket", token_file="tokens"))  # tokens by HTTP, too


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_a_loopback_address_needs_no_tls(host: str) -> None:
    security = server_security(Settings(host=host))
    assert security.address == Address(host, 8001) and not security.risks


def test_tokens_require_tls_or_the_flag_insecure(token_file: str, tls: dict[str, str]) -> None:
    with pytest.raises(StartupError, match="without TLS, tokens travel readable by all"):
        server_security(Settings(token_file=token_file))
    allowed = server_security(Settings(token_file=token_file, insecure=True))
    assert allowed.authorizer is not None and list(allowed.risks) == ["without TLS, tokens travel readable by all"]
    protected = server_security(Settings(token_file=token_file, **tls))
    assert protected.authorizer is not None and not protected.risks


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"tls_certificate": "a.pem"}, "tls_certificate and tls_key belong together"),
        ({"tls_key": "a.pem"}, "tls_certificate and tls_key belong together"),
        ({"tls_client_ca": "a.pem"}, "tls_client_ca asks clients for certificates"),
        ({"tls_certificate": "a.pem", "tls_key": "b.pem"}, "the file a.pem cannot be read"),
        ({"token_file": "nowhere", "insecure": True}, "the token file nowhere cannot be used"),
    ],
)
def test_incomplete_or_invalid_security_settings_are_startup_errors(chosen: dict[str, Any], message: str) -> None:
    with pytest.raises(StartupError, match=message):
        server_security(Settings(**chosen))


def test_there_is_no_authorizer_without_tokens() -> None:
    assert server_security(Settings()).authorizer is None


@pytest.mark.parametrize(
    ("chosen", "burst"),
    [({"rate_limit": 0.01}, 1), ({"rate_limit": 3}, 3), ({"rate_limit": 0.01, "rate_burst": 7}, 7)],
)
def test_the_default_burst_is_one_second_of_the_rate(chosen: dict[str, Any], burst: int) -> None:
    limiter = rate_limiter(Settings(**chosen), lambda: 0.0)
    assert limiter is not None and limiter.take("caller", burst) == 0.0
    assert limiter.take("caller") > 0.0


async def test_without_a_rate_limit_no_bucket_is_kept_or_asked() -> None:
    async def take(caller: str, cost: float) -> float:
        raise AssertionError

    assert rate_limiter(Settings(), lambda: 0.0) is None
    await charging(Settings().rate_limit, take)(1.0)


def test_the_bytes_in_flight_follow_from_the_memory_and_the_largest_message() -> None:
    def totals(memory_bytes: int, **chosen: int) -> tuple[int, int]:
        budget = byte_budget(Settings(max_message_bytes=1024, **chosen), memory_bytes)
        return budget.total_bytes, budget.caller_bytes

    assert totals(80_000) == (20_000, 10_000)
    assert totals(0) == (4096, 2048)
    assert totals(80_000, max_bytes_in_flight=5000) == (5000, 2500)
    assert totals(80_000, max_bytes_in_flight=1024) == (1024, 1024)
    assert totals(80_000, max_bytes_in_flight_per_caller=1500) == (20_000, 1500)


@pytest.mark.parametrize(
    ("memory_bytes", "chosen", "part"),
    [
        (80_000, {}, (5000, 2500)),
        (80_000, {"max_bytes_in_flight": 8192}, (2048, 1024)),
        (80_000, {"max_bytes_in_flight": 8192, "max_bytes_in_flight_per_caller": 8000}, (2048, 2000)),
        (80_000, {"max_bytes_in_flight": 1024}, (1024, 1024)),
        (0, {}, (1024, 1024)),
    ],
)
def test_each_of_four_front_ends_has_a_quarter_of_the_bytes_and_room_for_one_message(
    memory_bytes: int, chosen: dict[str, int], part: tuple[int, int]
) -> None:
    budget = byte_budget(Settings(max_message_bytes=1024, front_ends=4, **chosen), memory_bytes)
    assert (budget.total_bytes, budget.caller_bytes) == part


@pytest.mark.parametrize(("front_ends", "part"), [(0, 10), (1, 10), (3, 3), (16, 1)])
def test_front_ends_share_the_connections_out(front_ends: int, part: int) -> None:
    assert server_security(Settings(max_connections=10, front_ends=front_ends)).max_connections == part


def test_connections_by_grpc_and_by_http_do_not_use_up_the_open_files_together() -> None:
    alone = server_security(Settings(http_port=-1)).max_connections
    assert server_security(Settings()).max_connections == alone // 2


@pytest.mark.parametrize("name", ["max_bytes_in_flight", "max_bytes_in_flight_per_caller"])
def test_a_budget_below_the_largest_message_is_a_startup_error(name: str) -> None:
    with pytest.raises(StartupError, match=f"{name} is 1023, but must hold one message of max_message_bytes, 1024"):
        byte_budget(Settings(max_message_bytes=1024, **{name: 1023}), 1 << 30)


def test_a_cap_of_the_priority_needs_an_authorizer() -> None:
    assert server_security(Settings(max_priority="normal")).authorizer is not None


def test_the_health_port_has_its_own_address() -> None:
    assert server_security(Settings()).health is None
    assert server_security(Settings(health_port=0)).health == Address("127.0.0.1", 0)
    assert server_security(Settings(health_host="0.0.0.0", health_port=8003)).health == Address("0.0.0.0", 8003)
    assert str(Address("::1", 1)) == "[::1]:1"
