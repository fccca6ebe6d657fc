"""What the shell completes without asking the service: names from the reference, fixed choices."""

from __future__ import annotations

from collections.abc import Callable


def collection_names(incomplete: str) -> list[tuple[str, str]]:
    """Return the documented collections whose names begin so, case aside, each with its description."""
    from intune_dw_cli.reference import reference

    wanted = incomplete.casefold()
    return [
        (c.name, c.description) for c in reference().values() if c.v1_listed and c.name.casefold().startswith(wanted)
    ]


def choices(*words: str) -> Callable[[str], list[str]]:
    """Return a completer for fixed words."""

    def complete(incomplete: str) -> list[str]:
        return [word for word in words if word.startswith(incomplete.casefold())]

    return complete
