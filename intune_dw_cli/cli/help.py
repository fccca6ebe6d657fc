"""What help says beside the options: how to start, and at its end exit codes, variables and what to do next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

EXIT_CODES: Mapping[int, str] = {
    0: "done and complete",
    1: "failed",
    2: "usage: the command line must be changed",
    3: "partial: something is missing; the same command continues",
    4: "sign-in or permission",
    5: "verify found damage",
    6: "the archive is locked by another run",
    130: "interrupted",
}
"""What each exit code means, whatever the command."""

START = """\
intune-dw takes your data out of the Microsoft Intune Data Warehouse. To start:

  intune-dw backup ./try --sandbox   try it: a built-in tenant, no account
  intune-dw login                    sign in; asks for what it does not know
  intune-dw collections              see what your warehouse holds
  intune-dw pull devices             take one collection: devices.csv
  intune-dw backup ./archive         take everything, as a verifiable archive

All commands and options: intune-dw --help"""
"""The answer to a bare `intune-dw`."""

_OPTIONS = "Environment: --log-file may be given as INTUNE_DW_LOG_FILE, and so each option; a flag wins."
_SIGN_IN = (
    "Unattended sign-in: AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET, AZURE_CLIENT_CERTIFICATE_PATH "
    "(AZURE_CLIENT_CERTIFICATE_PASSWORD) or AZURE_FEDERATED_TOKEN_FILE; or a ready token in INTUNE_DW_ACCESS_TOKEN. "
    "INTUNE_DW_HOME moves profiles and token cache. Honoured, too: HTTPS_PROXY, NO_PROXY, REQUESTS_CA_BUNDLE, NO_COLOR."
)


class _End(NamedTuple):
    """How a command ends: its exit codes with their meaning there, where it reads a sign-in, what to do next."""

    codes: Mapping[int, str]
    signs_in: bool
    next: str


_FAILED = {1: "failed", 2: "usage"}
_CONNECTED = {4: "sign-in or permission", 130: "interrupted"}
_ENDS: Mapping[str, _End] = {
    "login": _End(
        {0: "signed in, and the warehouse answers", **_FAILED, 4: "refused, or nobody is signed in", 130: "cancelled"},
        True,
        "intune-dw collections",
    ),
    "logout": _End({0: "done", **_FAILED}, False, "intune-dw login signs in again"),
    "collections": _End({0: "done", **_FAILED, **_CONNECTED}, True, "intune-dw collections NAME, intune-dw pull NAME"),
    "pull": _End(
        {0: "every row is in a file", **_FAILED, 3: "some collections failed, the others are whole", **_CONNECTED},
        True,
        "open the file; or take everything, as an archive: intune-dw backup ARCHIVE",
    ),
    "backup": _End(
        {
            0: "complete",
            **_FAILED,
            3: "partial, the same command continues",
            4: _CONNECTED[4],
            6: "another run is at work in the archive",
            130: "interrupted, the same command continues",
        },
        True,
        "intune-dw verify ARCHIVE; every day: intune-dw backup ARCHIVE again, and intune-dw status ARCHIVE",
    ),
    "verify": _End(
        {
            0: "sound and complete",
            **_FAILED,
            3: "sound, but partial or unfinished, or the service gives something else now",
            4: _CONNECTED[4],
            5: "damage was found",
            130: "interrupted",
        },
        True,
        "after 3: intune-dw backup ARCHIVE; after 5: bring the damaged files back from a copy",
    ),
    "status": _End(
        {0: "complete and fresh", **_FAILED, 3: "partial, unfinished or older than --max-age"},
        False,
        "intune-dw backup ARCHIVE adds what is missing",
    ),
    "sandbox": _End({0: "ended with Ctrl-C", **_FAILED}, False, "intune-dw backup ./try, pointed at it as above"),
}


def epilog(command: str) -> str:
    """Return what the help of a command ends with, as paragraphs; of an unknown one the general codes."""
    end = _ENDS.get(command)
    if end is None:
        return f"{_codes(EXIT_CODES)} Any other code is a failure."
    paragraphs = [_codes(end.codes), _OPTIONS, *([_SIGN_IN] if end.signs_in else []), f"Next: {end.next}"]
    return "\n\n".join(paragraphs)


def _codes(codes: Mapping[int, str]) -> str:
    return f"Exit codes: {'; '.join(f'{code} {meaning}' for code, meaning in codes.items())}."
