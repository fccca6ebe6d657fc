"""From options and environment to a redaction. The key comes from a file or a variable, never from a flag."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, cast

from intune_dw_cli.cli.options import REDACT_KEY, Privacy

if TYPE_CHECKING:
    from pathlib import Path

    from intune_dw_cli.data.redact import Mode, Redaction
    from intune_dw_cli.identity.secret import Secret


def redaction_of(privacy: Privacy) -> Redaction | None:
    """Return the redaction that --redact and the key name, None where nothing is to be redacted.

    Raises:
        UsageError: an unknown mode; `hash` without a key, or with one that is short or cannot be read.
    """
    from intune_dw_cli.data.redact import Redaction

    if privacy.redact is None:
        return None
    mode = cast("Mode", privacy.redact.strip().lower())
    return Redaction(mode, redaction_key(privacy.redact_key_file) if mode == "hash" else None)


def redaction_key(file: Path | None) -> Secret | None:
    """Return the key in a file, else in the environment, else None. Raises UsageError for a file that holds none."""
    from intune_dw_cli.identity.secret import Secret, read_secret

    if file is not None:
        return read_secret(file, "redaction key")
    key = os.environ.get(REDACT_KEY, "").strip()
    return Secret(key) if key else None
