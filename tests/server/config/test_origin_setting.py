"""--http-allow-origin takes an origin as browsers write it, and refuses all else in one line."""

import pytest

from linnaeus.server.config.settings import read_settings
from linnaeus.server.errors import StartupError


@pytest.mark.parametrize(
    "written, origin",
    [
        ("", ""),
        ("*", "*"),
        ("https://example.org", "https://example.org"),
        (" HTTPS://Example.org/ ", "https://example.org"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("http://[::1]:3000", "http://[::1]:3000"),
    ],
)
def test_an_origin_is_taken_as_browsers_write_it(written: str, origin: str) -> None:
    assert read_settings(http_allow_origin=written).http_allow_origin == origin


@pytest.mark.parametrize(
    "wrong",
    ["example.org", "https://example.org/app", "https://*.example.org", "null", "https://", "ftp://a", "https://a b",
     "https://a.example,https://b.example", "https://a.example?x", "https://user@a.example", "https://exämple.org"],
)  # fmt: skip
def test_what_is_no_origin_is_refused_in_one_line(wrong: str) -> None:
    with pytest.raises(StartupError) as refused:
        read_settings(http_allow_origin=wrong)
    assert "http_allow_origin is" in str(refused.value) and "such as https://example.org" in str(refused.value)
    assert "\n" not in str(refused.value)
