"""What a sign-in tells the user. The library hands these to a callback; the command line puts them into words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class BrowserOpened:
    """A browser window is open, and the sign-in waits for it.

    Attributes:
        url: Where it went, for a browser that shows nothing.
    """

    url: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class BrowserMissing:
    """No browser could be opened; a device code follows."""


@dataclass(frozen=True, slots=True)
class CodeIssued:
    """The user must open an address anywhere and enter a code there.

    Attributes:
        url: The address.
        user_code: The code.
        message: Both in the words of the sign-in service.
        seconds: How long the code is good.
    """

    url: str
    user_code: str
    message: str
    seconds: float


@dataclass(frozen=True, slots=True)
class CodeAwaited:
    """The code has not been entered yet; told again every few seconds.

    Attributes:
        seconds: How long the code is still good.
    """

    seconds: float


Prompt = BrowserOpened | BrowserMissing | CodeIssued | CodeAwaited
Talk = Callable[[Prompt], None]


def say_nothing(prompt: Prompt) -> None:
    """Take a prompt and drop it."""
