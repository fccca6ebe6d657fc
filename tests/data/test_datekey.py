"""DateKey arithmetic: what people write, ranges, filters, halves."""

from __future__ import annotations

import contextlib
import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intune_dw_cli.data.datekey import DateKeyRange, days_after, from_date_key, is_snapshot, parse_day, to_date_key
from intune_dw_cli.errors import UsageError

TODAY = dt.date(2024, 3, 1)
days = st.dates()
ranges = st.tuples(st.none() | days, st.none() | days).map(
    lambda pair: DateKeyRange(*(sorted(pair) if None not in pair else pair))  # type: ignore[type-var]
)


@given(days)
def test_datekey_of_a_day_gives_the_day_back(day: dt.date) -> None:
    assert from_date_key(to_date_key(day)) == day
    assert str(to_date_key(day)).zfill(8) == day.isoformat().replace("-", "")


@given(days, st.integers(-(10**7), 10**7))
def test_days_are_counted_as_far_as_the_calendar_goes(day: dt.date, count: int) -> None:
    counted = days_after(day, count)
    try:
        assert counted == day + dt.timedelta(days=count)
    except OverflowError:
        assert counted == (dt.date.max if count > 0 else dt.date.min)


@pytest.mark.parametrize("today", [dt.date.min, dt.date(9999, 12, 28), dt.date.max])
def test_at_the_calendars_ends_a_day_is_still_a_snapshot_or_none(today: dt.date) -> None:
    assert is_snapshot(to_date_key(today), today) == (today.year > 2010)


@pytest.mark.parametrize("key", [0, -1, 20230229, 20241301, 20240100, 99991232, 123456789, 2**70, -(2**70)])
def test_number_that_is_no_day_is_refused(key: int) -> None:
    with pytest.raises(ValueError, match=r".+"):
        from_date_key(key)


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("2024-01-15", dt.date(2024, 1, 15)),
        ("20240115", dt.date(2024, 1, 15)),
        (" 20240229 ", dt.date(2024, 2, 29)),
        ("0001-01-01", dt.date(1, 1, 1)),
        ("9999-12-31", dt.date(9999, 12, 31)),
        ("today", TODAY),
        ("Today", TODAY),
        ("yesterday", dt.date(2024, 2, 29)),
        ("-1d", dt.date(2024, 2, 29)),
        ("-0d", TODAY),
        ("-366D", dt.date(2023, 3, 1)),
    ],
)
def test_day_as_people_write_it(text: str, day: dt.date) -> None:
    assert parse_day(text, today=TODAY) == day


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("2023-02-29", "no day of the calendar|not a day of the calendar"),
        ("20240230", "not a day of the calendar"),
        ("0000-01-01", "not a day of the calendar"),
        ("-99999999d", "not a date"),
        ("-99999d", None),
        ("2024-1-5", "not a date"),
        ("2024/01/05", "not a date"),
        ("15.01.2024", "not a date"),
        ("2024-01-15T00:00:00", "not a date"),
        ("\u0662\u0660\u0662\u0664\u0660\u0661\u0661\u0665", "not a date"),
        ("", "not a date"),
        ("7d", "not a date"),
        ("tomorrow", "not a date"),
    ],
)
def test_text_that_is_no_day_is_a_usage_error(text: str, says: str | None) -> None:
    today = TODAY if says else dt.date(200, 1, 1)
    with pytest.raises(UsageError, match=says or "not a day of the calendar") as caught:
        parse_day(text, today=today)
    assert "2024-01-15" in (caught.value.hint or "")


@given(st.text(max_size=12) | st.from_regex(r"-?\d{0,8}[-d]?\d{0,4}", fullmatch=True))
def test_any_text_is_a_day_or_a_usage_error(text: str) -> None:
    with contextlib.suppress(UsageError):
        assert isinstance(parse_day(text, today=TODAY), dt.date)


@pytest.mark.parametrize(
    ("first", "last", "text"),
    [
        (dt.date(2024, 1, 15), dt.date(2024, 1, 15), "DateKey eq 20240115"),
        (dt.date(2024, 1, 15), dt.date(2024, 2, 1), "DateKey ge 20240115 and DateKey le 20240201"),
        (dt.date(2024, 1, 15), None, "DateKey ge 20240115"),
        (None, dt.date(2024, 2, 29), "DateKey le 20240229"),
        (None, None, None),
        (dt.date(1, 1, 1), dt.date(1, 1, 1), "DateKey eq 10101"),
    ],
)
def test_filter_uses_the_documented_operators(first: dt.date | None, last: dt.date | None, text: str | None) -> None:
    assert DateKeyRange(first, last).filter() == text


def test_filter_takes_another_spelling() -> None:
    text = DateKeyRange(dt.date(2024, 1, 1), dt.date(2024, 1, 2)).filter("dateKey")
    assert text == "dateKey ge 20240101 and dateKey le 20240102"


def test_range_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(ValueError, match="2024-01-02 is after 2024-01-01"):
        DateKeyRange(dt.date(2024, 1, 2), dt.date(2024, 1, 1))


@given(st.dates(dt.date(2000, 1, 1), dt.date(2030, 1, 1)), st.integers(0, 400))
def test_halves_are_the_range_cut_in_two(first: dt.date, length: int) -> None:
    whole = DateKeyRange(first, first + dt.timedelta(days=length))
    halves = whole.halves()
    if length == 0:
        assert halves is None
        return
    assert halves is not None
    low, high = halves
    assert [*low.days(), *high.days()] == list(whole.days())
    assert abs(len(list(low.days())) - len(list(high.days()))) <= 1


@pytest.mark.parametrize("half_open", [DateKeyRange(), DateKeyRange(TODAY), DateKeyRange(None, TODAY)])
def test_open_range_has_no_halves_and_no_list_of_days(half_open: DateKeyRange) -> None:
    assert half_open.halves() is None
    with pytest.raises(ValueError, match="open range"):
        list(half_open.days())


def test_days_of_february_know_leap_years() -> None:
    assert len(list(DateKeyRange(dt.date(2024, 2, 1), dt.date(2024, 3, 1)).days())) == 30
    assert len(list(DateKeyRange(dt.date(2023, 2, 1), dt.date(2023, 3, 1)).days())) == 29


@given(ranges)
def test_bounds_are_the_ends_as_datekeys(days: DateKeyRange) -> None:
    low, high = days.bounds()
    assert low == (to_date_key(days.first) if days.first else None)
    assert high == (to_date_key(days.last) if days.last else None)
    assert days.is_open == (low is None and high is None)


def test_range_as_text() -> None:
    assert str(DateKeyRange.day(TODAY)) == "2024-03-01"
    assert str(DateKeyRange(TODAY)) == "2024-03-01.."
    assert str(DateKeyRange(None, TODAY)) == "..2024-03-01"
    assert DateKeyRange.day(TODAY).is_day
    assert not DateKeyRange().is_day
