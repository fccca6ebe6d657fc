"""`intune-dw --version`: what a bug report must say."""

from __future__ import annotations

import os
import platform
import re
import sys
from _ssl import OPENSSL_VERSION  # as in ssl, which takes as long to import as all else here

from intune_dw_cli import __version__

PARTS = ("pyarrow", "requests", "urllib3", "msal", "msal-extensions", "cryptography", "typer", "click", "rich")
"""The distributions whose behaviour shows in ours. Newer releases of typer hold click within themselves."""


_RECORD = re.compile(r"(?P<name>[^-]+)-(?P<version>[^-]+)\.dist-info")


def version_text() -> str:
    """Return our version alone on the first line, then Python, system and the parts, without importing them."""
    found = _installed()
    parts = ", ".join(f"{name} {found[name]}" for name in PARTS if name in found)
    return (
        f"intune-dw {__version__}\n"
        f"Python {platform.python_version()}, {platform.system()} {platform.release()} {platform.machine()}, "
        f"{OPENSSL_VERSION}\n"
        f"{parts or 'the versions of the parts are not recorded in this build'}"
    )


def _installed() -> dict[str, str]:
    """Return the distributions whose records lie on the path, by name; `importlib.metadata` would read them all."""
    found: dict[str, str] = {}
    for folder in sys.path:
        try:
            names = os.listdir(folder or ".")  # noqa: PTH208 - names are wanted, not paths
        except OSError:
            continue  # a zip archive, or not there
        for record in filter(None, map(_RECORD.fullmatch, names)):
            found.setdefault(record["name"].replace("_", "-").lower(), record["version"])
    return found
