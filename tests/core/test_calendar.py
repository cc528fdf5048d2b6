"""When schedules fire: what clocks that are set do to cron's times, written out; and by walking, minute for minute."""

import time
import zoneinfo
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import given, settings
from hypothesis import strategies as st

from periodic_client.wire.limits import TIME_MS_MAX
from periodicd import calendar
from periodicd.calendar import Recurrence, after, check_cron, check_zone, count, latest

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def instants(recurrence: Recurrence, after_ms: int, at_ms: int) -> Iterator[int]:
    """Those in (after_ms, at_ms], each later than the one before."""
    while (found := after(recurrence, after_ms)) is not None and found <= at_ms:
        assert found > after_ms
        yield found
        after_ms = found


def shown(recurrence: Recurrence, begin: str, hours: int) -> list[str]:
    """What clocks show at its instants after ``begin``."""
    end_ms = ms(begin) + hours * HOUR_MS
    return [
        datetime.fromtimestamp(found / 1000, ZoneInfo(recurrence.zone)).isoformat(timespec="minutes")
        for found in instants(recurrence, ms(begin), end_ms)
    ]


# -- clocks that are set ----------------------------------------------------------------------------------------------

SET = {
    # Where, and when: what fires in the four hours after that.
    ("Europe/Berlin", "2024-03-31T00:50+01:00"): {  # 02:00 -> 03:00
        "30 2 * * *": "03:00+02",
        "*/20 2 * * *": "03:00+02",
        "59 1 * * *": "01:59+01",
        "0 3 * * *": "03:00+02",
        "0 */2 * * *": "03:00+02, 04:00+02",
        "0 * * * *": "01:00+01, 03:00+02, 04:00+02, 05:00+02",
        "30 * * * *": "01:30+01, 03:30+02, 04:30+02, 05:30+02",
        "*/15 1-3 * * *": "01:00+01, 01:15+01, 01:30+01, 01:45+01, 03:00+02, 03:15+02, 03:30+02, 03:45+02",
    },
    ("Europe/Berlin", "2024-10-27T00:50+02:00"): {  # 03:00 -> 02:00
        "30 2 * * *": "02:30+02",
        "*/20 2 * * *": "02:00+02, 02:20+02, 02:40+02",
        "0 3 * * *": "03:00+01",
        "0 */2 * * *": "02:00+02",
        "0 * * * *": "01:00+02, 02:00+02, 02:00+01, 03:00+01",
        "0 0-23 * * *": "01:00+02, 02:00+02, 02:00+01, 03:00+01",
        "30 * 27 10 *": "01:30+02, 02:30+02, 02:30+01, 03:30+01",
    },
    ("America/New_York", "2024-03-10T00:50-05:00"): {  # 02:00 -> 03:00
        "0 2 * * *": "03:00-04",
        "30 2 * * SUN": "03:00-04",
        "0 * * * *": "01:00-05, 03:00-04, 04:00-04, 05:00-04",
    },
    ("America/New_York", "2024-11-03T00:50-04:00"): {  # 02:00 -> 01:00
        "0 1 * * *": "01:00-04",
        "30 1 * * SUN": "01:30-04",
        "0 * * * *": "01:00-04, 01:00-05, 02:00-05, 03:00-05",
    },
    ("Australia/Lord_Howe", "2024-10-06T00:50+10:30"): {  # 02:00 -> 02:30
        "10 2 * * *": "02:30+11",
        "*/20 2 * * *": "02:30+11, 02:40+11",
        "30 2 * * *": "02:30+11",
        "0 * * * *": "01:00+10:30, 03:00+11, 04:00+11, 05:00+11",
        "45 * * * *": "01:45+10:30, 02:45+11, 03:45+11, 04:45+11",  # cronsim leaves 02:45 out
    },
    ("Australia/Lord_Howe", "2024-04-07T00:50+11:00"): {  # 02:00 -> 01:30
        "45 1 * * *": "01:45+11",
        "*/15 2 * * *": "02:00+10:30, 02:15+10:30, 02:30+10:30, 02:45+10:30",  # cronsim begins at 02:30
        "0 * * * *": "01:00+11, 02:00+10:30, 03:00+10:30, 04:00+10:30",
        "45 * * * *": "01:45+11, 01:45+10:30, 02:45+10:30, 03:45+10:30",  # cronsim leaves the second out
    },
    ("America/Santiago", "2024-09-07T22:50-04:00"): {  # there is no midnight: 00:00 -> 01:00
        "0 0 * * *": "01:00-03",
        "30 0 * * SUN": "01:00-03",
        "0 1 * * *": "01:00-03",
        "0 * * * *": "23:00-04, 01:00-03, 02:00-03, 03:00-03",
        "30 * 8 9 *": "01:30-03, 02:30-03, 03:30-03",
    },
    ("America/Santiago", "2024-04-06T21:50-03:00"): {  # 00:00 -> 23:00 of the day before
        "0 0 * * *": "00:00-04",
        "30 23 * * *": "23:30-03",
        "0 * * * *": "22:00-03, 23:00-03, 23:00-04, 00:00-04",
        "30 * 6 4 *": "22:30-03, 23:30-03, 23:30-04",
    },
    ("Asia/Beirut", "2024-03-30T22:50+02:00"): {"0 0 * * *": "01:00+03"},
    ("Asia/Beirut", "2024-10-26T21:50+03:00"): {"0 0 * * *": "00:00+02", "30 23 * * *": "23:30+03"},
    ("Antarctica/Troll", "2024-03-31T00:50+00:00"): {  # 01:00 -> 03:00
        "30 1,2 * * *": "03:00+02",
        "0 * * * *": "03:00+02, 04:00+02, 05:00+02, 06:00+02",
    },
    ("America/St_Johns", "2010-11-06T22:50-02:30"): {  # 00:01 -> 23:01 of the day before
        "0 0 * * *": "00:00-02:30",
        "30 * 6 11 *": "23:30-02:30, 23:30-03:30",
        "*/30 * 7 11 *": "00:00-02:30, 00:00-03:30, 00:30-03:30, 01:00-03:30, 01:30-03:30",
    },
    ("Pacific/Apia", "2011-12-29T22:50-10:00"): {  # a day that was not: the 30th
        "0 12 30 * *": "00:00+14",
        "0 12 31 * *": "",
        "0 * 30 12 *": "",
        "30 * * * *": "23:30-10, 00:30+14, 01:30+14, 02:30+14",
        "0 23 * * *": "23:00-10, 00:00+14",
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("zone", "begin", "cron", "expected"),
    [(*where, cron, expected) for where, table in SET.items() for cron, expected in table.items()],
)
def test_clocks_that_are_set_leave_no_time_out_and_double_none(zone: str, begin: str, cron: str, expected: str) -> None:
    found = shown(Recurrence(cron=cron, zone=zone), begin, 4)
    assert ", ".join(each[len("2024-03-31T") :].removesuffix(":00") for each in found) == expected


@pytest.mark.parametrize(("zone", "begin"), SET)
def test_every_quarter_of_an_hour_keeps_its_pace(zone: str, begin: str) -> None:
    found = list(instants(Recurrence(cron="*/15 * * * *", zone=zone), ms(begin), ms(begin) + DAY_MS))
    assert found[0] == ms(begin) + 10 * MINUTE_MS
    assert {later - earlier for earlier, later in pairwise(found)} <= {15 * MINUTE_MS}
    assert len(found) == 96


# -- beside a walk, minute for minute ---------------------------------------------------------------------------------


@cache
def minutes(zone: str, begin: str) -> list[tuple[int, datetime]]:
    """What clocks show around the time that they are set."""
    around = range(ms(begin) - 6 * HOUR_MS, ms(begin) + 30 * HOUR_MS, MINUTE_MS)
    return [(at, datetime.fromtimestamp(at / 1000, ZoneInfo(zone)).replace(tzinfo=None, fold=0)) for at in around]


def walked(cron: str, zone: str, begin: str) -> list[int]:
    """The rules of calendar.py, without what it does to be quick."""
    shows = minutes(zone, begin)
    meant = set[datetime]()
    low, high = min(local for _, local in shows), max(local for _, local in shows)
    for local in CronSim(cron, low - timedelta(seconds=1)):
        if local > high:
            break
        meant.add(local)
    if len(CronSim(cron, low).hours) == 24:
        return [at for at, local in shows if local in meant]
    return sorted({next(at for at, local in shows if local >= each) for each in meant})


FIELDS = (
    st.sampled_from(["*/15", "0", "30", "45", "1", "10,50", "7-9", "*/40"]),
    st.sampled_from(["*", "*/2", "0", "1", "2", "3", "23", "1-3", "0-23", "0,12", "*/1"]),
    st.sampled_from(["*", "*", "30", "31", "L", "6-10"]),
    st.just("*"),
    st.sampled_from(["*", "*", "SUN", "SAT", "7L", "*/2"]),
)
CRONS = st.tuples(*FIELDS).map(" ".join)
AROUND = st.sampled_from(list(SET))


@given(cron=CRONS, where=AROUND)
@settings(deadline=None, max_examples=150)
def test_after_finds_what_a_walk_finds(cron: str, where: tuple[str, str]) -> None:
    expected = walked(cron, *where)
    shows = minutes(*where)
    found = instants(Recurrence(cron=cron, zone=where[0]), shows[0][0] - 1, shows[-1][0])
    assert list(found) == expected


@given(cron=CRONS, where=AROUND, minute=st.integers(0, 24 * 60), second=st.sampled_from([0, 0, 1, 59]))
@settings(deadline=None, max_examples=300)
def test_after_goes_on_from_any_time(cron: str, where: tuple[str, str], minute: int, second: int) -> None:
    at_ms = minutes(*where)[minute][0] + second * 1000
    expected = next((each for each in walked(cron, *where) if each > at_ms), None)
    found = after(Recurrence(cron=cron, zone=where[0]), at_ms)
    assert found is not None
    assert found == expected or (expected is None and found > minutes(*where)[-1][0])


def test_a_time_that_has_been_does_not_come_again() -> None:
    nightly = Recurrence(cron="30 2 * * *", zone="Europe/Berlin")
    assert after(nightly, ms("2024-10-27T02:10+01:00")) == ms("2024-10-28T02:30+01:00")
    assert latest(nightly, ms("2024-10-26T12:00+02:00"), ms("2024-10-27T02:40+01:00")) == ms("2024-10-27T02:30+02:00")


@pytest.mark.parametrize(
    ("zone", "cron", "begin", "expected"),
    [
        ("Europe/Berlin", "0 * 1 7 *", "2024-01-01T00:00+01:00", "2024-07-01T00:00+02:00"),
        ("Europe/Berlin", "0 * 27 10 *", "2024-10-26T00:30+02:00", "2024-10-27T00:00+02:00"),
        ("America/Santiago", "30 * 8 9 *", "2024-01-01T00:00-03:00", "2024-09-08T01:30-03:00"),
        ("America/St_Johns", "*/30 * 7 11 *", "2010-01-01T00:00-03:30", "2010-11-07T00:00-02:30"),
        ("Pacific/Apia", "0 * 30 12 *", "2011-01-01T00:00-10:00", "2012-12-30T00:00+14:00"),
    ],
)
def test_every_hour_of_a_day_in_another_season(zone: str, cron: str, begin: str, expected: str) -> None:
    assert after(Recurrence(cron=cron, zone=zone), ms(begin)) == ms(expected)


def test_clocks_that_are_set_by_seconds() -> None:
    """Monrovia's, for the last time in the history of clocks."""
    nightly = Recurrence(cron="30 0 * * *", zone="Africa/Monrovia")
    begin, end = ms("1972-01-06T12:00+00:00"), ms("1972-01-09T12:00+00:00")
    expected = ["00:44:30", "00:30:00", "00:30:00"]
    found = [*instants(nightly, begin, end)]
    assert [datetime.fromtimestamp(each / 1000, UTC).strftime("%H:%M:%S") for each in found] == expected
    assert latest(nightly, begin, end) == found[-1]


RECURRENCES = st.one_of(
    st.builds(lambda cron, where: (Recurrence(cron=cron, zone=where[0]), ms(where[1])), CRONS, AROUND),
    st.builds(
        lambda every, where, phase: (Recurrence(every, from_at_ms=ms(where[1]) + phase), ms(where[1])),
        st.integers(10 * MINUTE_MS, 3 * HOUR_MS),
        AROUND,
        st.integers(-HOUR_MS, HOUR_MS),
    ),
)
AWAY = st.integers(-2 * HOUR_MS, 12 * HOUR_MS) | st.integers(-4, 48).map(
    lambda quarters: (10 + quarters * 15) * MINUTE_MS
)


@given(recurrence_near=RECURRENCES, low=AWAY, high=AWAY, since=AWAY | st.none(), until=AWAY | st.none())
@settings(deadline=None, max_examples=200)
def test_latest_and_count_are_those_of_a_walk(
    recurrence_near: tuple[Recurrence, int], low: int, high: int, since: int | None, until: int | None
) -> None:
    plain, near = recurrence_near
    whole = list(instants(plain, near + low, near + high))
    bounds = {"from_at_ms": near + since} if since is not None and plain.cron else {}
    bounds |= {"until_at_ms": near + until} if until is not None else {}
    recurrence = Recurrence(**{name: getattr(plain, name) for name in plain.__struct_fields__} | bounds)
    within = [each for each in whole if each >= recurrence.from_at_ms and (until is None or each < near + until)]
    assert list(instants(recurrence, near + low, near + high)) == within
    assert latest(recurrence, near + low, near + high) == (within[-1] if within else None)
    for most in (0, 1, 3, 10_000):
        assert count(recurrence, near + low, near + high, most) == min(most, len(within))


# -- days -------------------------------------------------------------------------------------------------------------

DAYS = {
    "0 0 29 2 *": ("2024-01-01", 10 * 365, "2024-02-29, 2028-02-29, 2032-02-29"),
    "0 0 29 FEB *": ("2096-03-01", 10 * 365, "2104-02-29"),  # 2100 is no leap year
    "0 0 29 2 MON#5": ("2024-01-01", 366, "2024-02-29"),
    "0 0 31 * *": ("2024-01-01", 180, "2024-01-31, 2024-03-31, 2024-05-31"),
    "0 0 L * *": ("2023-02-01", 90, "2023-02-28, 2023-03-31, 2023-04-30"),
    "0 0 L 2 *": ("2024-01-01", 400, "2024-02-29"),
    "0 0 LW * *": ("2024-06-01", 92, "2024-06-28, 2024-07-31, 2024-08-30"),
    "0 0 * * 5L": ("2024-06-01", 60, "2024-06-28, 2024-07-26"),
    "0 0 * * MON#2": ("2024-06-01", 60, "2024-06-10, 2024-07-08"),
    # A day of the month or a weekday; but both, if one of them begins with a star.
    "0 0 13 * FRI": ("2024-09-05", 16, "2024-09-06, 2024-09-13, 2024-09-20"),
    "0 0 13 * MON": ("2024-09-05", 12, "2024-09-09, 2024-09-13, 2024-09-16"),
    "0 0 */10 * MON": ("2024-01-01", 120, "2024-03-11, 2024-04-01"),
    "0 0 1 * */2": ("2024-01-01", 120, "2024-02-01"),
    "0 0 * * 0": ("2024-09-01", 8, "2024-09-08"),
    "0 0 * * 7": ("2024-09-01", 8, "2024-09-08"),
    "0 0 * 2 MON#5": ("2020-01-01", 100 * 366, "2044-02-29, 2072-02-29, 2112-02-29"),
}


@pytest.mark.parametrize("cron", DAYS)
def test_days(cron: str) -> None:
    begin, days, expected = DAYS[cron]
    found = shown(Recurrence(cron=cron), f"{begin}T00:00+00:00", 24 * days)
    assert ", ".join(each.removesuffix("T00:00+00:00") for each in found) == expected


def test_the_calendar_ends_with_the_year_9999() -> None:
    daily = Recurrence(cron="0 0 * * *")
    assert shown(daily, "9999-12-29T12:00+00:00", 24) == ["9999-12-30T00:00+00:00"]
    assert after(daily, ms("9999-12-30T00:00+00:00")) == ms("9999-12-31T00:00+00:00")
    assert after(daily, ms("9999-12-31T00:00+00:00")) is None
    assert after(daily, TIME_MS_MAX) is None
    assert latest(daily, 0, TIME_MS_MAX) == ms("9999-12-31T00:00+00:00")
    beyond = Recurrence(cron="0 22 31 12 *", zone="America/New_York")
    assert after(beyond, ms("9998-12-31T23:00-05:00")) is None
    assert after(Recurrence(every_ms=1000), TIME_MS_MAX - 999) is None


# -- bounds -----------------------------------------------------------------------------------------------------------


def test_from_is_an_instant_if_cron_says_so_and_until_is_none() -> None:
    bounded = Recurrence(cron="*/15 * * * *", from_at_ms=HOUR_MS, until_at_ms=2 * HOUR_MS)
    assert after(bounded, 0) == HOUR_MS
    assert after(bounded, HOUR_MS - 1) == HOUR_MS
    assert after(bounded, HOUR_MS) == 75 * MINUTE_MS
    assert after(bounded, 105 * MINUTE_MS) is None
    assert latest(bounded, 0, DAY_MS) == 105 * MINUTE_MS
    assert latest(bounded, 0, HOUR_MS) == HOUR_MS
    assert latest(bounded, 0, HOUR_MS - 1) is None
    assert latest(bounded, 105 * MINUTE_MS, DAY_MS) is None
    assert count(bounded, 0, DAY_MS, 100) == 4
    assert count(bounded, HOUR_MS, 90 * MINUTE_MS, 100) == 2
    odd = Recurrence(cron="*/15 * * * *", from_at_ms=HOUR_MS + 1, until_at_ms=75 * MINUTE_MS + 1)
    assert list(instants(odd, 0, DAY_MS)) == [75 * MINUTE_MS]


def test_every_so_many_ms_is_counted_from_from() -> None:
    every = Recurrence(every_ms=1000, from_at_ms=12_345, until_at_ms=15_345)
    assert list(instants(every, 0, DAY_MS)) == [12_345, 13_345, 14_345]
    assert after(every, 12_344) == 12_345
    assert after(every, 12_345) == 13_345
    assert latest(every, 0, 14_344) == 13_345
    assert latest(every, 0, DAY_MS) == 14_345
    assert latest(every, 0, 12_344) is None
    assert latest(every, 13_345, 14_344) is None
    assert count(every, 0, DAY_MS, 2) == 2
    assert count(every, 12_345, 14_345, 100) == 2
    assert count(every, 14_345, 12_345, 100) == 0


# -- cost -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cron", ["* * * * *", "*/15 1-3 * * *", "* * 1 1 *", "0 0 29 2 *"])
def test_a_year_is_not_walked_to_find_its_last_instant(cron: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def counted(recurrence: Recurrence, at_ms: int) -> int | None:
        asked.append(at_ms)
        return after(recurrence, at_ms)

    monkeypatch.setattr(calendar, "after", counted)
    every_minute = Recurrence(cron=cron, zone="Europe/Berlin")
    begin = ms("2023-07-01T00:00+02:00")
    found = latest(every_minute, begin, begin + 366 * DAY_MS)
    assert found is not None
    assert len(asked) <= 27
    asked.clear()
    assert latest(every_minute, found - 1, found + 500) == found
    assert len(asked) <= 2, "a daemon that is not late looks little further"


def test_zones_of_the_process_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    where, table = next(iter(SET.items()))
    found = []
    for ours in ("UTC", "Europe/Berlin", "America/St_Johns"):
        monkeypatch.setenv("TZ", ours)
        time.tzset()
        try:
            found.append([after(Recurrence(cron=cron, zone=where[0]), ms(where[1])) for cron in table])
        finally:
            monkeypatch.undo()
            time.tzset()
    assert found[0] == found[1] == found[2]


# -- what is refused --------------------------------------------------------------------------------------------------

REFUSED = {
    "": "has 0 fields and not the five minute, hour, day of the month, month, weekday",
    "@daily": "has 1 fields and not the five minute, hour, day of the month, month, weekday",
    "0 0 * *": "has 4 fields and not the five minute, hour, day of the month, month, weekday",
    "0 0 0 * * *": (
        "has 6 fields and not the five minute, hour, day of the month, month, weekday; for seconds there is every_ms"
    ),
    "60 * * * *": "has the minute '60', which is not made of 0 to 59",
    "*/0 * * * *": "has the minute '*/0', which is not made of 0 to 59",
    "0 24 * * *": "has the hour '24', which is not made of 0 to 23",
    "0 0 32 * *": (
        "has the day of the month '32', which is not made of 1 to 31, L for the last or LW for the last from Monday to"
        " Friday"
    ),
    "0 0 * JANUARY *": "has the month 'JANUARY', which is not made of 1 to 12 or JAN to DEC",
    "0 0 * * FRI-MON": (
        "has the weekday 'FRI-MON', which is not made of 0 to 7 or SUN to SAT, 5L for the last Friday or 5#2 for the"
        " second"
    ),
    "0 0 31 2 *": "never fires: there is no such day",
    "0 0 30 FEB */2": "never fires: there is no such day",
    "0 0 31 4,6,9,11 *": "never fires: there is no such day",
    "0 0 */20 * 1L": "never fires: there is no such day",  # the 1st or the 21st, if it is a last Monday
}


@pytest.mark.parametrize("cron", REFUSED)
def test_a_cron_that_cannot_be_is_refused(cron: str) -> None:
    assert check_cron(cron) == REFUSED[cron]


@pytest.mark.parametrize("cron", [*DAYS, "0 0 31 4 MON", "*/5,7 0-6/2 * jan-mar sun", "\t0  0 1 1 * "])
def test_a_cron_that_can_be_is_not(cron: str) -> None:
    assert check_cron(cron) is None


@given(st.lists(st.text("0123456789*/,-L#W ?JANFRI¹٣ßŉ", max_size=8), min_size=4, max_size=6).map(" ".join))
@settings(deadline=None)
def test_what_is_not_refused_fires(cron: str) -> None:
    if check_cron(cron) is None:
        assert after(Recurrence(cron=cron, zone="Europe/Berlin"), 0) is not None


def test_zones_have_the_names_of_iana_and_no_others() -> None:
    for zone in ("UTC", "Europe/Berlin", "America/Argentina/Ushuaia", "EST5EDT"):
        assert check_zone(zone) is None
    for zone in ("", "europe/berlin", "Europe", "Europe/Bielefeld", "localtime", "right/UTC", "../etc/passwd", "a\0b"):
        assert check_zone(zone) == "is no name of an IANA time zone, as Europe/Berlin is"


def test_zones_are_found_where_the_system_has_none() -> None:
    paths = zoneinfo.TZPATH
    try:
        zoneinfo.reset_tzpath(())
        for name in calendar._zones():
            assert ZoneInfo.no_cache(name).key == name
    finally:
        zoneinfo.reset_tzpath(paths)
