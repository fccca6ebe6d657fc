"""What a sign-in tells a person, in words."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from intune_dw_cli.cli.console import Terminal, clean
from intune_dw_cli.identity.prompts import BrowserMissing, BrowserOpened, CodeAwaited, CodeIssued, Prompt

if TYPE_CHECKING:
    from rich.status import Status


class Speaker:
    """Puts into words what a sign-in tells; on stderr, so that stdout stays clean. Moves on a terminal only.

    These words come also when quiet: without them nobody could sign in.
    """

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._status: Status | None = None

    def __enter__(self) -> Callable[[Prompt], None]:
        return self._tell

    def __exit__(self, *_: object) -> None:
        self._end()

    def _tell(self, prompt: Prompt) -> None:
        err = self._terminal.err
        match prompt:
            case BrowserOpened():
                err.print("A browser window is open: sign in there. If it shows nothing, press Ctrl-C and use")
                err.print("intune-dw login --device-code")
                self._wait("waiting for the browser; Ctrl-C cancels")
            case BrowserMissing():
                err.print("No browser can be opened here, so a code is used.")
            case CodeIssued():
                err.print("\nTo sign in, open this address in a browser, on any device:")
                err.print(f"  {clean(prompt.url)}", soft_wrap=True)
                err.print("and enter this code:")
                err.print(f"  {clean(prompt.user_code)}\n", style="bold")
                if not self._terminal.live:
                    err.print(f"Waiting; the code is good for {_clock(prompt.seconds)} minutes. Ctrl-C cancels.")
                self._wait(f"waiting; the code is good for {_clock(prompt.seconds)}; Ctrl-C cancels")
            case CodeAwaited():
                self._wait(f"waiting; the code is good for {_clock(prompt.seconds)}; Ctrl-C cancels")

    def _wait(self, text: str) -> None:
        if not self._terminal.live:
            return
        if self._status is None:
            self._status = self._terminal.err.status(text)
            self._status.start()
        else:
            self._status.update(text)

    def _end(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None


def _clock(seconds: float) -> str:
    minutes, rest = divmod(max(0, round(seconds)), 60)
    return f"{minutes}:{rest:02}"
