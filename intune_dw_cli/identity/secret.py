"""A value that must not be seen: client secret, password, assertion, token."""

from __future__ import annotations

from pathlib import Path
from typing import final

from intune_dw_cli.errors import UsageError

_MAX_SECRET = 64 * 1024


@final
class Secret:
    """Holds a secret and shows it only to `reveal`; not in `repr`, `str`, format strings, pickles or copies of those.

    Args:
        value: The secret, to the letter.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the secret itself."""
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __repr__(self) -> str:
        return "Secret(...)"

    __str__ = __repr__

    def __reduce__(self) -> str:
        raise TypeError("a secret is not written anywhere")


def read_secret(path: Path, what: str) -> Secret:
    """Return the secret that a file holds, without the blanks and line breaks around it.

    Args:
        path: The file.
        what: What it holds, for messages: "client secret".

    Raises:
        UsageError: it cannot be read, is empty, or is no text.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_SECRET + 1)
    except OSError as error:
        raise UsageError(
            f"the {what} file {path} cannot be read: {error.strerror}",
            hint="Check the path, and that the account that runs this may read the file.",
        ) from None
    try:
        text = data.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        text = ""
    if not text or len(data) > _MAX_SECRET or not text.isprintable():
        raise UsageError(
            f"the {what} file {path} does not hold one line of text", hint=f"Put the {what} alone into it."
        )
    return Secret(text)
