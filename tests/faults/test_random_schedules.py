"""Random schedules of faults that pass: each row of each page is in the files exactly once, in its order."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

import pytest
from damage import FAULTS, HARMLESS, SLOW
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from meddler import Heard, Meddler, Piece
from rig import FACT, TODAY, Rig, Row, as_rows, rows_of

from intune_dw_cli.data.datekey import DateKeyRange
from intune_dw_cli.export.plan import CollectionPlan
from intune_dw_cli.sandbox import Fault, Sandbox, ServerConfig, TenantConfig
from intune_dw_cli.sandbox.config import NextLinkForm
from intune_dw_cli.sandbox.messages import Response

QUICK, LONG = 1_000, 10_000
SHARES = 4
"""Tests over which the schedules are spread."""
NAMES = (FACT, "users")
TINY = TenantConfig(today=TODAY, devices=8, days=2)
BOTH_DAYS = DateKeyRange(TODAY - dt.timedelta(days=1), TODAY)
ANSWERS = {name: damage for name, (damage, _) in FAULTS.items() if name not in SLOW} | {
    name: damage for name, damage in HARMLESS.items() if name != "in pieces"
}
PAGE_SIZES = (2, 5, 100)
ADDITIONAL = "_additional"


@dataclass(frozen=True)
class Strike:
    """What becomes of some answers.

    Attributes:
        what: A name in ANSWERS, `429` or `401`.
        collection: Whose pages are meant.
        later: Whether pages after the first one of a chain are meant, or the first one.
        nth: Which of the requests for one page it hits: with several strikes a page fails several times in a row.
        retry_after: What a 429 asks for.
    """

    what: str
    collection: str
    later: bool
    nth: int
    retry_after: str | None

    def answer(self, heard: Heard, true: Response) -> Response | Iterable[Piece] | None:
        """The answer to put in place of the true one, None where another one is meant."""
        if (self.collection, self.later, self.nth) != (heard.collection, heard.later, heard.nth):
            return None
        if self.what == "429":
            return Response(429, headers={"Retry-After": self.retry_after} if self.retry_after else {})
        return Response(401) if self.what == "401" else ANSWERS[self.what](true)


strikes = st.builds(
    Strike,
    what=st.sampled_from([*ANSWERS, "429"]),
    collection=st.sampled_from(NAMES),
    later=st.booleans(),
    nth=st.integers(1, 3),
    retry_after=st.sampled_from([None, "0", "9", "86400", "Fri, 31 Dec 2099 23:59:59 GMT", "soon"]),
)
refusals = st.builds(  # a second 401 in a row would rightly end the run
    Strike,
    what=st.just("401"),
    collection=st.sampled_from(NAMES),
    later=st.booleans(),
    nth=st.just(1),
    retry_after=st.none(),
)
oddities = st.builds(
    Fault,
    kind=st.sampled_from(["empty-page", "extra-column", "int64-string"]),
    collection=st.sampled_from(NAMES),
    page=st.none() | st.integers(1, 4),
    times=st.integers(1, 2),
)


class Renewing:
    """Gives another token whenever one is refused."""

    def __init__(self) -> None:
        self._count = 0

    def token(self) -> str:
        return f"token-{self._count}"

    def renew(self, refused: str, claims: str | None = None) -> str:
        self._count += 1
        return self.token()


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[tuple[int, str], Meddler]]:
    """One server for each size of page and form of nextLink."""
    with ExitStack() as stack:
        yield {
            (size, form): stack.enter_context(Meddler(Sandbox(TINY, ServerConfig(page_size=size, next_link=form))))
            for size in PAGE_SIZES
            for form in get_args(NextLinkForm)
        }


@pytest.fixture(scope="module")
def wanted() -> dict[str, list[Row]]:
    tenant = Sandbox(TINY).tenant
    return {name: as_rows(tenant.rows(name)) for name in NAMES}


@pytest.fixture(scope="module")
def plans(servers: dict[tuple[int, str], Meddler]) -> list[CollectionPlan]:
    """What to pull, planned once: the two documents have tests of their own."""
    return Rig(next(iter(servers.values())).feed_url).plans(*NAMES, bounds=BOTH_DAYS)


@pytest.mark.parametrize("share", range(SHARES))
def test_no_row_is_lost_and_none_doubled_in_any_schedule(
    servers: dict[tuple[int, str], Meddler],
    wanted: dict[str, list[Row]],
    plans: list[CollectionPlan],
    is_long: bool,
    faults_seed: int,
    share: int,
) -> None:
    @seed(faults_seed * SHARES + share)
    @settings(
        max_examples=(LONG if is_long else QUICK) // SHARES,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(
        place=st.sampled_from(sorted(servers)),
        planned=st.lists(strikes | refusals, max_size=12),
        odd=st.lists(oddities, max_size=3),
        workers=st.integers(1, 4),
        by_day=st.booleans(),
    )
    def run(place: tuple[int, str], planned: list[Strike], odd: list[Fault], workers: int, by_day: bool) -> None:
        server = servers[place]
        with struck(server, planned, odd), TemporaryDirectory() as folder:
            rig = Rig(server.feed_url, workers=workers, tokens=Renewing())
            result = rig.run(plans, Path(folder), by_day=by_day)
            assert result.errors == []
            found = {name: rows_of(result, name) for name in NAMES}
        assert {outcome.plan.entity_set.name: outcome.rows for outcome in result.outcomes} == {
            name: len(rows) for name, rows in found.items()
        }
        assert {name: [plain(row) for row in rows] for name, rows in found.items()} == wanted

    run()


def struck(server: Meddler, planned: list[Strike], odd: list[Fault]) -> Any:
    """Put a schedule in force in a server for a while."""

    def meddle(heard: Heard, true: Response) -> Response | Iterable[Piece] | None:
        answers = (strike.answer(heard, true) for strike in planned)
        return next((answer for answer in answers if answer is not None), None)

    assert server.sandbox is not None
    server.forget()
    server.meddle = meddle
    for fault in odd:
        server.sandbox.add_fault(fault)
    stack = ExitStack()
    stack.callback(server.sandbox.clear_faults)
    return stack


def plain(row: Row) -> Row:
    """A row without what an undeclared property brought, which must be that property."""
    assert row.get(ADDITIONAL) in (None, '{"driftedProperty":"drift"}')
    return {name: value for name, value in row.items() if name != ADDITIONAL}
