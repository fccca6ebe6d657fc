"""Questions at the terminal: what is asked for a sign-in, whether an answer can be one, and a way out of each."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer

from intune_dw_cli.errors import InterruptedRunError, UsageError
from intune_dw_cli.identity.credentials import Browser, Configuration
from intune_dw_cli.service.feed import FeedUrl
from intune_dw_cli.settings import Settings

CANCELLED = "cancelled"
QUESTIONS = {
    "url": (
        "Feed URL",
        "the OData feed of your tenant's data warehouse.\n"
        "Copy it from the Intune admin center (intune.microsoft.com): Reports > Data warehouse.",
    ),
    "tenant": (
        "Tenant",
        "the tenant id, or a domain such as contoso.com.\nEntra admin center (entra.microsoft.com) > Overview.",
    ),
    "client_id": (
        "Client ID",
        "the app to sign in with; the README says how to register one.\n"
        "Entra admin center > App registrations > your app > Application (client) ID.",
    ),
}
"""What is asked on a terminal: the name of the value, what it is, and where to find it."""


def problem_with(name: str, answer: str, settings: Settings) -> str | None:
    """Return what is wrong with an answer, None when nothing is."""
    try:
        require_value(name, answer, settings)
    except UsageError as error:
        return f"That cannot be: {error.message.rstrip('.')}."
    return None


def require_value(name: str, value: str, settings: Settings) -> None:
    """Raise UsageError where a text cannot be the value of that name (one of QUESTIONS)."""
    if name == "url":
        FeedUrl.parse(value, allowed_hosts=settings.cloud.feed_hosts)
    else:
        fit = {"tenant": "contoso.com", "client_id": "00000000-0000-0000-0000-000000000000", name: value}
        Configuration(credential=Browser(), tenant=fit["tenant"], client_id=fit["client_id"])


def asked(label: str, **kwargs: Any) -> str:
    """Return what the person types, asked on stderr. Raises InterruptedRunError for Ctrl-C and for the end of input."""
    with interruptible():
        return str(typer.prompt(label, err=True, **kwargs)).strip()


@contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C end a question: while one waits, the handler that only sets an event would leave it waiting.

    Raises:
        InterruptedRunError: Ctrl-C or the end of input in place of an answer.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    except (KeyboardInterrupt, typer.Abort):
        sys.stderr.write("\n")  # the prompt ends its own line
        raise InterruptedRunError(CANCELLED) from None
    finally:
        signal.signal(signal.SIGINT, before)
