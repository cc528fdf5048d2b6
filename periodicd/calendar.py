"""When a schedule fires: every so many milliseconds, or as cron says by the clocks of a zone.

Pure: it reads no clock, nothing but zone data, and no setting of the process, such as its own zone, may change what it
answers.

cronsim says which local times a cron expression means. Which instants those are is decided here: cronsim leaves some
out where clocks are set by half an hour, and goes by how an expression is written, not by what it means.

* An expression that names hours (``30 2 * * *``, ``*/15 1-3 * * *``) fires once for each of its local times: when the
  clocks first show it, or, if they leave it out, when they are set.
* One that means every hour (``*/15 * * * *``) fires whenever the clocks show one of its local times, so it keeps its
  pace in real time: in an hour that a day has twice it fires twice, and an hour that a day has not is not made up for.

Seconds below are since the epoch, by UTC or by what a zone's clocks show (``local_s``); all that cron means are whole.
"""

from bisect import bisect_left
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from importlib.resources import files
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from msgspec import Struct

from periodic_client.wire.limits import TIME_MS_MAX

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LOCAL_EPOCH = datetime(1970, 1, 1)
SECOND = timedelta(seconds=1)
DAY_S = 86_400
FIELDS = {
    "minute": "0 to 59",
    "hour": "0 to 23",
    "day of the month": "1 to 31, L for the last or LW for the last from Monday to Friday",
    "month": "1 to 12 or JAN to DEC",
    "weekday": "0 to 7 or SUN to SAT, 5L for the last Friday or 5#2 for the second",
}
"""Of cron, in its order, and what each may be, beside lists, ranges and steps of it."""


class Recurrence(Struct, frozen=True):
    """Either ``every_ms`` or ``cron`` is given. Cron and zone have passed ``check_cron`` and ``check_zone``."""

    every_ms: int | None = None
    cron: str | None = None
    zone: str = "UTC"
    """Of ``cron``."""
    from_at_ms: int = 0
    """No instant is before it. Those of ``every_ms`` are counted from it."""
    until_at_ms: int | None = None
    """Each instant is before it."""


def instant_text(at_ms: int) -> str:
    """As 2026-11-27T02:30:00Z, and with milliseconds if it has some."""
    seconds, ms = divmod(at_ms, 1000)
    return f"{EPOCH + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%S}{f'.{ms:03}' if ms else ''}Z"


def check_cron(cron: str) -> str | None:
    """What is wrong with it, as the rest of a sentence that begins with it."""
    said = cron.split()
    if len(said) != len(FIELDS):
        more = "; for seconds there is every_ms" if len(said) == len(FIELDS) + 1 else ""
        return f"has {len(said)} fields and not the five {', '.join(FIELDS)}{more}"
    for number, (name, allowed) in enumerate(FIELDS.items()):
        alone = ["*"] * len(FIELDS)
        alone[number] = said[number]
        try:
            CronSim(" ".join(alone), LOCAL_EPOCH)
        except CronSimError:
            return f"has the {name} {said[number]!r}, which is not made of {allowed}"
    try:
        if any(True for _ in _local_times(cron, 0)):
            return None
    except CronSimError:
        pass
    return "never fires: there is no such day"


def check_zone(zone: str) -> str | None:
    """What is wrong with it, as the rest of a sentence that begins with it."""
    # A name is not tried as a file: the system's folder has others, which mean something else on each machine.
    return None if zone in _zones() else "is no name of an IANA time zone, as Europe/Berlin is"


def after(recurrence: Recurrence, at_ms: int) -> int | None:
    """The first instant later than that."""
    since_ms, last_ms = _within(recurrence, at_ms, TIME_MS_MAX)
    if recurrence.every_ms is not None:
        found = since_ms + recurrence.every_ms - (since_ms - recurrence.from_at_ms) % recurrence.every_ms
    else:
        assert recurrence.cron is not None
        rule = _whenever_shown if _every_hour(recurrence.cron) else _once_for_each
        try:
            found_s = rule(recurrence.cron, _zone(recurrence.zone), since_ms // 1000)
        except OverflowError:
            # Past the year 9999.
            return None
        if found_s is None:
            return None
        found = found_s * 1000
    return found if found <= last_ms else None


def latest(recurrence: Recurrence, after_ms: int, at_ms: int) -> int | None:
    """The last instant in (after_ms, at_ms]."""
    since_ms, last_ms = _within(recurrence, after_ms, at_ms)
    if recurrence.every_ms is not None:
        found = last_ms - (last_ms - recurrence.from_at_ms) % recurrence.every_ms
        return found if found > since_ms else None
    first = after(recurrence, after_ms)
    if first is None or first > last_ms:
        return None

    def nothing_follows(instant_ms: int) -> bool:
        following = after(recurrence, instant_ms)
        return following is None or following > last_ms

    # The first second that nothing follows is the last instant itself; a year is halved 25 times.
    seconds = range(first, last_ms + 1, 1000)
    return seconds[bisect_left(seconds, True, key=nothing_follows)]


def count(recurrence: Recurrence, after_ms: int, at_ms: int, most: int) -> int:
    """How many instants are in (after_ms, at_ms], or ``most`` if there are more."""
    since_ms, last_ms = _within(recurrence, after_ms, at_ms)
    if recurrence.every_ms is not None:
        first, end = ((ms - recurrence.from_at_ms) // recurrence.every_ms for ms in (since_ms, last_ms))
        return max(0, min(end - first, most))
    counted = 0
    while counted < most:
        found = after(recurrence, since_ms)
        if found is None or found > last_ms:
            break
        counted, since_ms = counted + 1, found
    return counted


def _within(recurrence: Recurrence, after_ms: int, at_ms: int) -> tuple[int, int]:
    """(after_ms, at_ms], cut to where the recurrence has instants."""
    end_ms = TIME_MS_MAX + 1 if recurrence.until_at_ms is None else recurrence.until_at_ms
    return max(after_ms, recurrence.from_at_ms - 1), min(at_ms, end_ms - 1)


def _once_for_each(cron: str, zone: ZoneInfo, after_s: int) -> int | None:
    """The first instant after that by the rule for certain hours."""
    instants = (_shown_s(zone, local_s) for local_s in _local_times(cron, after_s + _offset_s(zone, after_s)))
    # While the clocks show an hour for the second time, what they show next has been.
    return next((instant_s for instant_s in instants if instant_s > after_s), None)


def _whenever_shown(cron: str, zone: ZoneInfo, after_s: int) -> int | None:
    """The first instant after that by the rule for every hour."""
    since_s = after_s + 1
    while True:
        offset_s = _offset_s(zone, since_s)
        local_s = next(_local_times(cron, since_s + offset_s - 1), None)
        if local_s is None:
            return None
        found_s = local_s - offset_s
        set_s = _clocks_set_s(zone, since_s, min(found_s, since_s + DAY_S))
        if set_s is not None:
            since_s = set_s
        elif found_s > since_s + DAY_S:
            # Clocks that are set later cannot bring back what they show today.
            since_s = _shown_s(zone, local_s)
        else:
            return found_s


def _local_times(cron: str, after_s: int) -> Iterator[int]:
    """What a clock that is never set shows at the times that cron means, later than that."""
    for local in CronSim(cron, LOCAL_EPOCH + timedelta(seconds=after_s)):
        yield (local - LOCAL_EPOCH) // SECOND


def _shown_s(zone: ZoneInfo, local_s: int) -> int:
    """When the clocks show that for the first time, or, if they leave it out, when they are set."""
    local = LOCAL_EPOCH.replace(tzinfo=zone) + timedelta(seconds=local_s)
    first_s, second_s = (local_s - _seconds(local.replace(fold=fold).utcoffset()) for fold in (0, 1))
    if second_s >= first_s:
        return first_s
    # Only of a time that is left out the second would be before the first; between them the clocks are set.
    set_s = _clocks_set_s(zone, second_s, first_s)
    assert set_s is not None
    return set_s


def _clocks_set_s(zone: ZoneInfo, low_s: int, high_s: int) -> int | None:
    """The first second in (low_s, high_s] of another offset; they are not so far apart that there could be two."""
    offset_s = _offset_s(zone, low_s)
    if _offset_s(zone, high_s) == offset_s:
        return None
    seconds = range(low_s + 1, high_s + 1)
    return seconds[bisect_left(seconds, True, key=lambda at_s: _offset_s(zone, at_s) != offset_s)]


def _offset_s(zone: ZoneInfo, at_s: int) -> int:
    """By how much the clocks are ahead of UTC."""
    return _seconds((EPOCH + timedelta(seconds=at_s)).astimezone(zone).utcoffset())


def _seconds(offset: timedelta | None) -> int:
    assert offset is not None
    return offset // SECOND


@lru_cache(maxsize=1024)
def _every_hour(cron: str) -> bool:
    return len(CronSim(cron, LOCAL_EPOCH).hours) == 24


@lru_cache(maxsize=1024)
def _zone(zone: str) -> ZoneInfo:
    return ZoneInfo(zone)


@cache
def _zones() -> frozenset[str]:
    return frozenset(files("tzdata").joinpath("zones").read_text().split())
