"""A sandbox Entra over TLS with a certification authority of its own, certificates for apps, and identities on them."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path

import pytest
import requests
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import NameOID

from intune_dw_cli.identity.cache import PlainVault, TokenCache
from intune_dw_cli.identity.clouds import CLOUDS, customised
from intune_dw_cli.identity.credentials import Configuration
from intune_dw_cli.identity.identity import Identity
from intune_dw_cli.sandbox.entra import Entra
from intune_dw_cli.sandbox.entra_registry import CLIENT_ID, TENANT_ID
from intune_dw_cli.sandbox.entra_server import EntraServer

MARK = "MARKED-a8f3"
"""Is part of every secret of the tests; must never be part of anything that is shown."""


@dataclass(frozen=True)
class AppCertificate:
    """A certificate of an app in every form of file."""

    pem: Path
    encrypted_pem: Path
    pfx: Path
    certificate: str
    password: str
    not_after: datetime


@pytest.fixture(scope="session")
def tls(tmp_path_factory) -> tuple[Path, Path]:
    """The bundle of a private CA, and a server certificate that it signed."""
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    bundle, server = folder / "ca.pem", folder / "server.pem"
    authority.cert_pem.write_to_path(str(bundle))
    authority.issue_cert("127.0.0.1", "localhost").private_key_and_cert_chain_pem.write_to_path(str(server))
    return bundle, server


@pytest.fixture(scope="session")
def make_certificate(tmp_path_factory):
    """Make a self-signed certificate as admins do."""

    def make(*, days: float = 365) -> AppCertificate:
        folder = tmp_path_factory.mktemp("certificate")
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "intune-dw")])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=400))
            .not_valid_after(now + timedelta(days=days))
            .sign(key, hashes.SHA256())
        )
        password = f"{MARK}-password"
        locked = serialization.BestAvailableEncryption(password.encode())
        text = certificate.public_bytes(serialization.Encoding.PEM)
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)
        plain, encrypted, pfx = folder / "app.pem", folder / "app-locked.pem", folder / "app.pfx"
        plain.write_bytes(key.private_bytes(*form, serialization.NoEncryption()) + text)
        encrypted.write_bytes(text + key.private_bytes(*form, locked))
        pfx.write_bytes(pkcs12.serialize_key_and_certificates(b"intune-dw", key, certificate, None, locked))
        return AppCertificate(plain, encrypted, pfx, text.decode(), password, certificate.not_valid_after_utc)

    return make


@pytest.fixture(scope="session")
def app_certificate(make_certificate) -> AppCertificate:
    """One certificate for all tests that only need one."""
    return make_certificate()


@pytest.fixture
def serve(tls):
    """Serve an Entra over TLS."""
    servers: list[EntraServer] = []

    def start(entra: Entra | None = None, *, plain: bool = False) -> EntraServer:
        server = EntraServer(entra, certificate=None if plain else tls[1]).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def new_cache(tmp_path):
    """Open the plaintext cache of the test's folder anew, as another process would."""

    def open_() -> TokenCache:
        return TokenCache(PlainVault(tmp_path / "tokens.json"), tmp_path / "tokens.lock")

    return open_


@pytest.fixture
def identify(tls):
    """Make an identity of the sandbox tenant."""
    made: list[Identity] = []

    def make(server: EntraServer, credential, *, tenant=TENANT_ID, client_id=CLIENT_ID, username=None, **kwargs):
        cloud = customised(CLOUDS["public"], authority_host=server.host, resource=kwargs.pop("resource", None))
        kwargs.setdefault("ca_bundle", str(tls[0]))
        configuration = Configuration(
            credential=credential, tenant=tenant, client_id=client_id, cloud=cloud, username=username
        )
        identity = Identity(configuration, **kwargs)
        identity._session._first_wait = 0.01
        made.append(identity)
        return identity

    yield make
    for identity in made:
        identity.close()


@pytest.fixture
def browser(tls):
    """A browser that signs in at once: follows the address and posts the form that it finds there."""

    def visit(url: str, tamper=lambda fields: fields) -> None:
        with requests.Session() as session:
            session.trust_env = False
            page = session.get(url, verify=str(tls[0])).text
            target = re.search(r'action="([^"]+)"', page)
            if target is None:
                return
            fields = {unescape(n): unescape(v) for n, v in re.findall(r'name="([^"]+)" value="([^"]*)"', page)}
            session.post(unescape(target[1]).replace("localhost", "127.0.0.1"), data=tamper(fields))

    def open_(url: str, **kwargs) -> bool:
        threading.Thread(target=visit, args=(url,), kwargs=kwargs, daemon=True).start()
        return True

    return open_
