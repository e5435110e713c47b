"""Certificates for tests, issued by temporary authorities."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme


@dataclass(frozen=True)
class Pair:
    """A certificate chain and its private key, in PEM."""

    certificate: bytes
    key: bytes

    def write(self, folder: Path, name: str = "server") -> tuple[Path, Path]:
        """Writes both files into a folder; returns their paths."""
        certificate, key = folder / f"{name}.pem", folder / f"{name}-key.pem"
        certificate.write_bytes(self.certificate)
        key.write_bytes(self.key)
        return certificate, key


class Authority:
    """A certificate authority; trusting `certificate` means trusting all certificates that it issues."""

    def __init__(self) -> None:
        self._ca = trustme.CA(key_type=trustme.KeyType.ECDSA)
        self.certificate = self._ca.cert_pem.bytes()

    def issue(self, *names: str, expired: bool = False) -> Pair:
        """Issues a certificate for these names; an expired one expired yesterday."""
        now = datetime.now(UTC)
        issued = self._ca.issue_cert(
            *names,
            not_before=now - timedelta(days=30),
            not_after=now + timedelta(days=-1 if expired else 30),
            key_type=trustme.KeyType.ECDSA,
        )
        chain = b"".join(each.bytes() for each in issued.cert_chain_pems)
        return Pair(chain, issued.private_key_pem.bytes())
