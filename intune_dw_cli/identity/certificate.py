"""Reads the certificate that an app signs in with, and says when it ends.

PEM and PFX come out the same: MSAL then gets private key and certificate, and makes the SHA-256 thumbprint and the
PS256 signature itself (MSAL 1.35: `client_credential` with `private_key` and `public_certificate`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import pkcs12

from intune_dw_cli.errors import UsageError
from intune_dw_cli.identity.credentials import Certificate
from intune_dw_cli.identity.secret import Secret

WARNING_DAYS = 30

_PEM_KEY = re.compile(rb"-----BEGIN ([A-Z ]*)PRIVATE KEY-----.*?-----END \1PRIVATE KEY-----", re.DOTALL)
_PASSWORD_HINT = "Give the password with AZURE_CLIENT_CERTIFICATE_PASSWORD or in a file."  # noqa: S105
_MAX_FILE = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedCertificate:
    """A certificate with its private key.

    Attributes:
        private_key: PEM, not encrypted; lives in memory only.
        certificate: PEM.
        thumbprint: SHA-256, upper case hex, as the Entra admin center can show it.
        not_after: When it ends.
    """

    private_key: Secret = field(repr=False)
    certificate: str = field(repr=False)
    thumbprint: str
    not_after: datetime

    def expiry_warning(self, now: datetime | None = None) -> str | None:
        """Return a sentence when the certificate has ended or ends within 30 days, None otherwise."""
        left = self.not_after - (now or datetime.now(UTC))
        day = f"{self.not_after:%Y-%m-%d}"
        renew = "upload a new one under Entra admin center > App registrations > your app > Certificates & secrets"
        if left <= timedelta(0):
            return f"the certificate {self.thumbprint[:8]}... expired on {day}: {renew}"
        if left <= timedelta(days=WARNING_DAYS):
            return f"the certificate {self.thumbprint[:8]}... expires on {day}, in {left.days} days: {renew}"
        return None


def load_certificate(credential: Certificate) -> LoadedCertificate:
    """Read a PEM file with certificate and private key, or a PFX file.

    Where a PEM file holds several certificates, the one of the private key is taken.

    Raises:
        UsageError: the file cannot be read, is neither, lacks a part, or needs another password.
    """
    path = credential.path
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE)
    except OSError as error:
        raise UsageError(
            f"the certificate file {path} cannot be read: {error.strerror}",
            hint="Check the path, and that the account that runs this may read the file.",
        ) from None
    password = credential.password.reveal().encode() if credential.password else None
    key, certificate = _read_pem(path, data, password) if b"-----BEGIN " in data else _read_pfx(path, data, password)
    if not isinstance(key, RSAPrivateKey):
        raise UsageError(f"the private key in {path} is not RSA", hint="Entra takes RSA certificates only.")
    private_key = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return LoadedCertificate(
        private_key=Secret(private_key.decode()),
        certificate=certificate.public_bytes(serialization.Encoding.PEM).decode(),
        thumbprint=certificate.fingerprint(hashes.SHA256()).hex().upper(),
        not_after=certificate.not_valid_after_utc,
    )


def _read_pem(path: Path, data: bytes, password: bytes | None) -> tuple[object, x509.Certificate]:
    match = _PEM_KEY.search(data)
    if match is None:
        raise UsageError(
            f"{path} holds no private key",
            hint="The file must hold both, the certificate and its private key; a .cer file is not enough.",
        )
    key = _load_key(path, match[0], password)
    try:
        certificates = x509.load_pem_x509_certificates(data)
    except ValueError:
        certificates = []
    public = _public_bytes(key)
    for certificate in certificates:
        if _public_bytes(certificate) == public:
            return key, certificate
    raise UsageError(
        f"{path} holds no certificate that belongs to its private key",
        hint="Put the certificate of this key into the file, or give the file of the other pair.",
    )


def _load_key(path: Path, pem: bytes, password: bytes | None) -> object:
    try:
        try:
            return serialization.load_pem_private_key(pem, password)
        except TypeError:
            if password is None:
                raise UsageError(f"the private key in {path} has a password", hint=_PASSWORD_HINT) from None
            return serialization.load_pem_private_key(pem, None)  # a password for a key that needs none
    except (ValueError, UnsupportedAlgorithm):
        if password is not None:
            raise UsageError(f"the password does not open the private key in {path}", hint=_PASSWORD_HINT) from None
        raise UsageError(
            f"the private key in {path} cannot be read",
            hint="Give an RSA key in PEM (PKCS#8 or PKCS#1), or a PFX file.",
        ) from None


def _read_pfx(path: Path, data: bytes, password: bytes | None) -> tuple[object, x509.Certificate]:
    try:
        key, certificate, _ = pkcs12.load_key_and_certificates(data, password)
    except (ValueError, UnsupportedAlgorithm) as error:
        if "password" in str(error).lower():
            raise UsageError(f"the password does not open {path}", hint=_PASSWORD_HINT) from None
        raise UsageError(
            f"{path} is neither a PEM nor a PFX file", hint="Give a PEM file with certificate and key, or a PFX file."
        ) from None
    if key is None or certificate is None:
        raise UsageError(
            f"{path} must hold both, the certificate and its private key",
            hint="Export it again together with the private key.",
        )
    return key, certificate


def _public_bytes(holder: object) -> bytes | None:
    public_key = getattr(holder, "public_key", None)
    if public_key is None:
        return None
    encoded: bytes = public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return encoded
