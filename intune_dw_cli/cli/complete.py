"""What the shell completes without asking the service: names from the reference, fixed choices."""

from __future__ import annotations

import os
from collections.abc import Callable

Completer = Callable[[str], list[str] | list[tuple[str, str]]]
"""Takes the beginning of a word and returns what it may become, with or without an explanation."""


def collection_names(incomplete: str) -> list[tuple[str, str]]:
    """Return the documented collections whose names begin so, case aside, each with its description."""
    from intune_dw_cli.reference import reference

    wanted = incomplete.casefold()
    return [
        (c.name, c.description) for c in reference().values() if c.v1_listed and c.name.casefold().startswith(wanted)
    ]


def profile_names(incomplete: str) -> list[tuple[str, str]]:
    """Return the profiles whose names begin so, each with its feed URL; none where they cannot be read."""
    from intune_dw_cli.errors import IntuneDwError
    from intune_dw_cli.identity.locations import Locations
    from intune_dw_cli.identity.profiles import ProfileStore

    try:
        profiles = ProfileStore(Locations.from_environ(os.environ)).list()
    except IntuneDwError:
        return []
    return [(name, profile.feed_url or "") for name, profile in profiles.items() if name.startswith(incomplete)]


def chart_items(incomplete: str) -> list[tuple[str, str]]:
    """Return the trend charts whose items begin so, each with its title."""
    from intune_dw_cli.archive.chart_items import ITEMS

    return [(item.id, item.title) for item in ITEMS if item.id.startswith(incomplete)]


def choices(*words: str) -> Callable[[str], list[str]]:
    """Return a completer for fixed words."""

    def complete(incomplete: str) -> list[str]:
        return [word for word in words if word.startswith(incomplete.casefold())]

    return complete
