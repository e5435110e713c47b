"""Pages of other sites may not call, also if their name resolves to this machine; programs and own pages may."""

import pytest
from starlette.datastructures import Headers

from linnaeus.server.http.origins import Origins
from linnaeus.server.http.problems import HttpRefusal

LOCAL_HOSTS = [
    "localhost",
    "localhost:8000",
    "LOCALHOST:8000",
    "a.localhost",
    "127.0.0.1:8000",
    "[::1]:8000",
    "10.1.2.3",
]
OTHER_HOSTS = [
    "evil.example",
    "evil.example:8000",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "[",
    "notlocalhost",
]


def refusal(origins: Origins, method: str = "POST", version: str = "1.1", **headers: str) -> int:
    """Returns the status of the refusal; 0 for none."""
    try:
        origins.require_own(method, version, Headers(headers))
    except HttpRefusal as refused:
        assert len(str(refused)) < 250
        return refused.status
    return 0


@pytest.mark.parametrize("host", LOCAL_HOSTS)
def test_a_local_server_is_called_by_addresses_and_localhost(host: str) -> None:
    assert refusal(Origins("", True), host=host) == 0


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("host", OTHER_HOSTS)
def test_a_local_server_refuses_names_that_may_be_another_sites(method: str, host: str) -> None:
    assert refusal(Origins("", True), method, host=host, origin=f"http://{host}") == 403
    assert refusal(Origins("", True), method, host=host) == 403


def test_a_local_server_knows_the_name_of_the_allowed_origin() -> None:
    assert refusal(Origins("https://proxy.example", True), host="proxy.example") == 0
    assert refusal(Origins("https://proxy.example", True), host="evil.example") == 403
    assert refusal(Origins("*", True), host="evil.example", origin="http://evil.example") == 0


def test_a_server_of_the_network_is_called_by_any_name() -> None:
    assert refusal(Origins("", False), host="classify.example") == 0


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://[evil", "", "localhost:8000", "file://", "http://localhost:9"]
)
def test_a_page_of_another_origin_may_not_post(origin: str) -> None:
    assert refusal(Origins("", True), host="localhost:8000", origin=origin) == 403
    assert refusal(Origins("https://app.example", True), host="localhost:8000", origin=origin) == 403
    assert refusal(Origins("*", True), host="localhost:8000", origin=origin) == 0
    assert refusal(Origins("", True), "GET", host="localhost:8000", origin=origin) == 0  # which no page can read


def test_own_pages_and_those_of_the_allowed_origin_may_post() -> None:
    assert refusal(Origins("", True), host="localhost:8000", origin="http://localhost:8000") == 0
    assert refusal(Origins("", False), host="Classify.example", origin="https://classify.example") == 0
    assert refusal(Origins("https://app.example", False), host="classify.example", origin="https://app.example") == 0


def test_a_request_has_one_host() -> None:
    assert refusal(Origins("", True)) == 400
    assert refusal(Origins("", True), version="1.0") == 0
    two = Headers(raw=[(b"host", b"localhost"), (b"host", b"evil.example")])
    with pytest.raises(HttpRefusal, match="one header Host"):
        Origins("", True).require_own("GET", "1.1", two)
