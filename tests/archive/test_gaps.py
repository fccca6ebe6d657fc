from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intune_dw_cli.archive.gaps import Loss, ThinDay, _thin_days, find_gaps
from intune_dw_cli.data.datekey import from_date_key, to_date_key

AS_OF = dt.date(2024, 3, 10)


def days(first: dt.date, count: int, rows: int = 100) -> dict[int, int]:
    return {to_date_key(first + dt.timedelta(days=n)): rows for n in range(count)}


def test_an_unbroken_history_has_no_gaps_and_says_until_when_the_next_day_is_there() -> None:
    gaps = find_gaps(days(dt.date(2024, 2, 9), 31), as_of=AS_OF, retention_days=30)
    assert gaps.is_whole
    assert (gaps.first, gaps.last, gaps.service_first) == (20240209, 20240310, 20240209)
    assert gaps.next_loss == Loss(20240311, "2024-04-11")


def test_a_day_that_is_not_held_is_at_risk_until_the_service_drops_it_and_lost_afterwards() -> None:
    held = days(dt.date(2024, 1, 1), 70)
    del held[20240110], held[20240229]
    gaps = find_gaps(held, as_of=AS_OF, retention_days=30)
    assert gaps.missing == (20240110, 20240229)
    assert gaps.lost == (20240110,)
    assert gaps.at_risk == (Loss(20240229, "2024-03-31"),)


def test_days_that_could_not_be_fetched_are_at_risk_also_at_the_edges() -> None:
    gaps = find_gaps(days(dt.date(2024, 3, 1), 5), as_of=AS_OF, retention_days=30, unfetched=[20240310])
    assert gaps.missing == ()
    assert [loss.date_key for loss in gaps.at_risk] == [20240310]


def test_empty_and_thin_days_are_flagged_with_their_figures() -> None:
    held = days(dt.date(2024, 3, 1), 9)
    held[20240304], held[20240306] = 0, 49
    gaps = find_gaps(held, as_of=AS_OF, retention_days=30)
    assert gaps.empty == (20240304,)
    assert gaps.thin == (ThinDay(20240306, 49, 100.0),)


def weekly(weeks: int, *, thin: tuple[int, ...], rows: int = 10) -> dict[int, int]:
    """Whole weeks from Monday, 1 January 2024, with few rows on some days of the week (0 is Monday)."""
    held = days(dt.date(2024, 1, 1), 7 * weeks)
    return {day: rows if from_date_key(day).weekday() in thin else n for day, n in held.items()}


@pytest.mark.parametrize("weekend", [(5, 6), (4, 5), (6,)])
def test_a_weekend_is_not_thin_whichever_days_it_is(weekend: tuple[int, ...]) -> None:
    assert find_gaps(weekly(4, thin=weekend), as_of=AS_OF, retention_days=30).thin == ()


def test_a_weekend_day_with_far_less_than_other_weekends_and_a_working_day_like_a_weekend_are_thin() -> None:
    held = weekly(4, thin=(5, 6))
    held[20240113], held[20240117] = 4, 10  # a Saturday, a Wednesday
    assert [day.date_key for day in find_gaps(held, as_of=AS_OF, retention_days=30).thin] == [20240113, 20240117]


def test_two_weeks_tell_no_weekly_pattern_and_three_do() -> None:
    two = find_gaps(weekly(2, thin=(6,)), as_of=AS_OF, retention_days=30).thin
    assert [day.date_key for day in two] == [20240107, 20240114]
    assert find_gaps(weekly(3, thin=(6,)), as_of=AS_OF, retention_days=30).thin == ()


def test_half_the_rows_of_the_neighbours_is_not_thin() -> None:
    held = days(dt.date(2024, 3, 1), 9)
    held[20240306] = 50
    assert find_gaps(held, as_of=AS_OF, retention_days=30).thin == ()


def test_empty_days_before_the_service_s_history_are_no_gap() -> None:
    held = days(dt.date(2024, 2, 1), 10, rows=0) | days(dt.date(2024, 2, 11), 20)
    gaps = find_gaps(held, as_of=AS_OF, retention_days=30)
    assert gaps.is_whole
    assert gaps.first == 20240211


def test_a_collection_without_rows_has_no_days() -> None:
    gaps = find_gaps({20240301: 0}, as_of=AS_OF, retention_days=30)
    assert (gaps.first, gaps.last, gaps.next_loss) == (None, None, None)


@given(
    st.dictionaries(st.integers(0, 90).map(lambda n: to_date_key(AS_OF - dt.timedelta(days=n))), st.integers(0, 500)),
    st.integers(1, 90),
)
def test_every_day_between_first_and_last_is_held_or_missing(rows: dict[int, int], retention: int) -> None:
    gaps = find_gaps(rows, as_of=AS_OF, retention_days=retention)
    if gaps.first is None or gaps.last is None:
        assert not any(rows.values())
        return
    inside = {d for d in rows if gaps.first <= d <= gaps.last}
    span = (from_date_key(gaps.last) - from_date_key(gaps.first)).days + 1
    assert len(inside) + len(gaps.missing) == span
    assert not inside & set(gaps.missing)
    at_risk = {loss.date_key for loss in gaps.at_risk}
    assert at_risk | set(gaps.lost) == set(gaps.missing)
    assert not at_risk & set(gaps.lost)


def test_days_at_the_ends_of_the_calendar_are_told_as_far_as_it_goes() -> None:
    """A manifest may name them: systems write 9999-12-31 for "never"."""
    gaps = find_gaps({99991231: 5, 99991229: 5}, as_of=AS_OF, retention_days=60, unfetched=[99991230, 10101])
    assert gaps.at_risk == (Loss(99991230, "9999-12-31"),)
    assert gaps.next_loss == Loss(99991231, "9999-12-31")
    assert find_gaps({10101: 1}, as_of=dt.date.min, retention_days=60).service_first == 10101


def test_a_thin_day_at_the_end_of_the_calendar_is_found() -> None:
    """Its weeks before and after would lead beyond."""
    held = {99991220 + n: 1000 for n in range(12)} | {99991230: 3} | {10101 + n: 1000 for n in range(5)} | {10103: 3}
    assert [t.date_key for t in _thin_days(held, sorted(held))] == [10103, 99991230]
