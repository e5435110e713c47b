"""Pages of other sites read nothing unless --http-allow-origin names theirs; preflights say so."""

import pytest
from tests.server.http.raw_http import Echo, exchange, request, serving

from linnaeus.server.http.application import application

CLOSE = b"Connection: close"
PAGE = b"Origin: https://app.example"
OTHER = b"Origin: https://evil.example"
PREFLIGHT = (b"Access-Control-Request-Method: POST", b"Access-Control-Request-Headers: authorization,content-type")


async def head(allowed_origin: str, *headers: bytes, method: bytes = b"GET", path: bytes = b"/a") -> str:
    """Returns the head of the answer to a request."""
    async with serving(application(Echo().routes(), allowed_origin)) as server:
        received = await exchange(server, request(path, *headers, CLOSE, method=method))
    return received.partition(b"\r\n\r\n")[0].decode().lower()


async def test_no_page_of_another_site_reads_anything_by_default() -> None:
    assert "access-control" not in await head("", PAGE)
    preflight = await head("", PAGE, *PREFLIGHT, method=b"OPTIONS")
    assert preflight.startswith("http/1.1 405") and "access-control" not in preflight
    assert (await head("", PAGE, method=b"POST", path=b"/echo")).startswith("http/1.1 403")


async def test_pages_of_the_allowed_origin_read_and_send_and_no_others() -> None:
    allowed = "https://app.example"
    read = await head(allowed, PAGE)
    assert f"access-control-allow-origin: {allowed}" in read and "vary: origin" in read
    preflight = await head(allowed, PAGE, *PREFLIGHT, method=b"OPTIONS")
    assert preflight.startswith("http/1.1 200") and f"access-control-allow-origin: {allowed}" in preflight
    assert "authorization" in preflight and "access-control-allow-credentials" not in preflight
    assert "access-control-allow-origin" not in await head(allowed, OTHER)
    assert "access-control-allow-origin" not in await head(allowed, OTHER, *PREFLIGHT, method=b"OPTIONS")
    assert (await head(allowed, OTHER, method=b"POST", path=b"/echo")).startswith("http/1.1 403")


@pytest.mark.parametrize("origin", [PAGE, OTHER, b"Origin: null"])
async def test_a_star_allows_all_pages_without_credentials(origin: bytes) -> None:
    read = await head("*", origin)
    assert "access-control-allow-origin: *" in read and "access-control-allow-credentials" not in read


async def test_every_answer_is_what_its_type_says() -> None:
    for path in (b"/a", b"/nowhere/at/all"):
        assert "x-content-type-options: nosniff" in await head("", path=path)
