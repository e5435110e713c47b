"""Callers without a token are distinguished by certificate, else by address, never by port."""

import ipaddress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linnaeus.server.security.caller_identity import certificate_name, peer_address


class Context:
    def __init__(self, identities: list[bytes] | None) -> None:
        self._identities = identities

    def peer_identities(self) -> list[bytes] | None:
        return self._identities

    def peer(self) -> str:
        return "ipv4:192.0.2.1:5000"


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:192.0.2.1:5000", "192.0.2.1"),
        ("ipv6:%5B2001:db8:1:2:3:4:5:6%5D:5000", "2001:db8:1:2::/64"),
        ("ipv6:[2001:db8:1:2:9::1]:1", "2001:db8:1:2::/64"),
        ("ipv6:%5Bfe80::1%25eth0%5D:5000", "fe80::/64"),
        ("ipv6:%5B::ffff:192.0.2.1%5D:5000", "192.0.2.1"),
        ("unix:/run/linnaeus.sock", "unix:/run/linnaeus.sock"),
        ("unix:", "unix:"),
        ("", ""),
    ],
)
def test_a_peer_is_identified_by_its_address(peer: str, address: str) -> None:
    assert peer_address(peer) == address


@settings(deadline=None, derandomize=True)
@given(st.ip_addresses(v=4), st.integers(1, 65535), st.integers(1, 65535))
def test_the_port_does_not_distinguish_callers(address: ipaddress.IPv4Address, one: int, other: int) -> None:
    assert peer_address(f"ipv4:{address}:{one}") == peer_address(f"ipv4:{address}:{other}")


@settings(deadline=None, derandomize=True)
@given(st.text(max_size=60))
def test_any_peer_name_is_accepted(peer: str) -> None:
    assert isinstance(peer_address(peer), str)


def test_a_certificate_names_its_caller() -> None:
    assert certificate_name(Context([b"b.example", b"a.example"])) == "certificate:a.example,b.example"
    assert certificate_name(Context(None)) == ""
