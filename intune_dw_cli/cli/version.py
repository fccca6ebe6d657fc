"""`intune-dw --version`: what a bug report must say."""

from __future__ import annotations

import platform
import ssl
from importlib.metadata import PackageNotFoundError, version

from intune_dw_cli import __version__

PARTS = ("pyarrow", "requests", "urllib3", "msal", "msal-extensions", "cryptography", "typer", "click", "rich")
"""The distributions whose behaviour shows in ours. Newer releases of typer hold click within themselves."""


def version_text() -> str:
    """Return our version alone on the first line, then Python, system and the parts, without importing them."""
    parts = ", ".join(f"{name} {number}" for name in PARTS if (number := _installed(name)))
    return (
        f"intune-dw {__version__}\n"
        f"Python {platform.python_version()}, {platform.platform()}, {ssl.OPENSSL_VERSION}\n"
        f"{parts or 'the versions of the parts are not recorded in this build'}"
    )


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
