"""An archive is of one tenant, whichever way it is named."""

from __future__ import annotations

import pytest

from intune_dw_cli.archive.records import Identity
from intune_dw_cli.errors import ArchiveError

ID = "0f5f1b3a-6f0e-4c53-9a51-2d2c4b1f9a77"
OTHER = "9d2e8c11-6f0e-4c53-9a51-2d2c4b1f9a77"


def of(tenant: str | None, source: str = "https://one.example/feed") -> Identity:
    return Identity(source, tenant, "v1.0", "csv", None)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (ID, ID),
        (ID, ID.upper()),
        ("contoso.com", "Contoso.com"),
        (ID, "contoso.com"),
        (None, ID),
        (None, "contoso.com"),
        (None, None),
    ],
)
def test_what_may_be_the_same_tenant_is_taken(one: str | None, other: str | None) -> None:
    of(one).require_same(of(other))
    of(other).require_same(of(one))


@pytest.mark.parametrize(("one", "other"), [(ID, OTHER), ("contoso.com", "fabrikam.com")])
def test_another_tenant_is_refused_and_both_are_named(one: str, other: str) -> None:
    with pytest.raises(ArchiveError, match=f"tenant {other} .*{one}"):
        of(one).require_same(of(other))


def test_a_domain_and_an_id_do_not_hide_another_feed() -> None:
    with pytest.raises(ArchiveError, match="feed URL"):
        of(ID).require_same(of("contoso.com", "https://two.example/feed"))


@pytest.mark.parametrize(
    ("mine", "held", "known"),
    [
        (ID, ID.upper(), True),
        ("contoso.com", "CONTOSO.com", True),
        (ID, "contoso.com", False),
        (None, ID, False),
        (None, None, False),
        (ID, OTHER, False),
    ],
)
def test_a_move_is_known_only_where_both_name_the_tenant_alike(mine: str | None, held: str | None, known: bool) -> None:
    assert of(mine).is_known_move(of(held, "https://two.example/feed")) is known
    assert not of(mine).is_known_move(of(held))


@pytest.mark.parametrize(
    ("mine", "held", "kept"),
    [
        (None, ID, ID),
        ("contoso.com", ID, ID),
        (ID, "contoso.com", ID),
        (None, "contoso.com", "contoso.com"),
        ("contoso.com", None, "contoso.com"),
        (None, None, None),
    ],
)
def test_a_run_that_knows_less_of_the_tenant_forgets_nothing(
    mine: str | None, held: str | None, kept: str | None
) -> None:
    """Else the run after it could be one of another tenant, and nobody would notice."""
    assert of(mine).joined(of(held)).tenant == kept
