"""Certificate files that cannot be used say why, and never show what is in them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import load_pem_x509_certificate

from intune_dw_cli.errors import UsageError
from intune_dw_cli.identity.certificate import load_certificate
from intune_dw_cli.identity.credentials import Certificate
from intune_dw_cli.identity.secret import Secret


def test_pem_and_pfx_are_one(app_certificate):
    password = Secret(app_certificate.password)
    pem = load_certificate(Certificate(app_certificate.pem))
    pfx = load_certificate(Certificate(app_certificate.pfx, password))
    assert pem == pfx
    certificate = load_pem_x509_certificate(app_certificate.certificate.encode())
    assert pem.thumbprint == certificate.fingerprint(hashes.SHA256()).hex().upper()
    assert pem.not_after == app_certificate.not_after
    assert "PRIVATE" not in repr(pem)


def test_password_for_a_key_that_needs_none(app_certificate):
    assert load_certificate(Certificate(app_certificate.pem, Secret("MARKED-a8f3")))


def test_certificate_of_the_key_is_chosen_among_several(app_certificate, make_certificate, tmp_path):
    path = tmp_path / "chain.pem"
    path.write_text(make_certificate().certificate + app_certificate.pem.read_text())
    assert load_certificate(Certificate(path)).certificate == app_certificate.certificate


def test_warnings_begin_thirty_days_before(app_certificate):
    loaded = load_certificate(Certificate(app_certificate.pem))
    end = loaded.not_after
    assert loaded.expiry_warning(end - timedelta(days=31)) is None
    assert "expires on" in loaded.expiry_warning(end - timedelta(days=29, hours=1))
    assert "expired on" in loaded.expiry_warning(end + timedelta(seconds=1))


def test_files_that_cannot_be_used(app_certificate, make_certificate, tmp_path):
    path = tmp_path / "file"
    text = app_certificate.pem.read_text()
    key = text[: text.index("-----BEGIN CERTIFICATE")]
    elliptic = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    cases = {
        "no private key": app_certificate.certificate,
        "belongs to its private key": key + make_certificate().certificate,
        "no certificate that": key,
        "cannot be read": text.replace("MII", "MIX", 1),
        "neither a PEM nor a PFX": "MARKED-a8f3",
        "no certificate that ": elliptic.decode() + app_certificate.certificate,
    }
    for words, content in cases.items():
        path.write_text(content)
        with pytest.raises(UsageError, match=words.strip()) as caught:
            load_certificate(Certificate(path))
        assert "MARKED" not in str(caught.value)
    with pytest.raises(UsageError, match="cannot be read"):
        load_certificate(Certificate(tmp_path / "none"))
    with pytest.raises(UsageError, match="cannot be read"):
        load_certificate(Certificate(tmp_path))
