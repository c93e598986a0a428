"""The certificates of one job's gateway: an authority that lives as long as the job, and a leaf for each host.

The authority's key is in memory only and never leaves the gateway. It may sign for the hosts that the gateway answers
for and for no other (name constraints), should somebody carry its certificate elsewhere.
"""

from __future__ import annotations

import os
import ssl
import tempfile
import threading
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_SLACK, _LIFE = timedelta(hours=1), timedelta(days=60)
#: Where the machine's own authorities may be; `ssl` knows the place of the system that Python was built on.
_SYSTEM = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")


class Authority:
    """A certificate authority for one job. `server` gives the TLS side of a host."""

    def __init__(self, hosts: Iterable[str]) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mlgate job")])
        now = datetime.now(UTC)
        usage = x509.KeyUsage(
            digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
            key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
        )  # fmt: skip
        self._certificate = (
            x509.CertificateBuilder(self._name, self._name, self._key.public_key(), x509.random_serial_number())
            .not_valid_before(now - _SLACK)
            .not_valid_after(now + _LIFE)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.NameConstraints([x509.DNSName(host) for host in hosts], None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._lock = threading.Lock()

    def bundle(self, with_system: bool) -> bytes:
        """The authorities that a job trusts, as PEM: this one, and the machine's own where it may go out to others."""
        own = self._certificate.public_bytes(serialization.Encoding.PEM)
        return own + (_system_bundle() if with_system else b"")

    def server(self, host: str) -> ssl.SSLContext:
        """What answers as `host`; made at the first question."""
        with self._lock:
            if host not in self._contexts:
                self._contexts[host] = self._context(host)
            return self._contexts[host]

    def _context(self, host: str) -> ssl.SSLContext:
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host[:64])])
        leaf = (
            x509.CertificateBuilder(self._name, subject, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - _SLACK)
            .not_valid_after(now + _LIFE)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_alpn_protocols(["http/1.1"])
        pem = leaf.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        _load(context, pem)
        return context


def _load(context: ssl.SSLContext, pem: bytes) -> None:
    """`ssl` reads keys from files only: one of this moment, in memory where the kernel has such files."""
    if hasattr(os, "memfd_create"):
        number = os.memfd_create("leaf", os.MFD_CLOEXEC)
        path = f"/proc/self/fd/{number}"
    else:
        number, path = tempfile.mkstemp()
    try:
        os.write(number, pem)
        context.load_cert_chain(path)
    finally:
        os.close(number)
        if not path.startswith("/proc/"):
            os.unlink(path)


def _system_bundle() -> bytes:
    for path in (ssl.get_default_verify_paths().cafile, *_SYSTEM):
        with suppress(OSError):
            if path:
                return b"\n" + Path(path).read_bytes()
    return b""
