"""The checker finds what it is there for of schedules: stories that must not happen, beside those that may."""

from dataclasses import replace
from itertools import pairwise

import pytest

from tests.crashloop.check import check
from tests.crashloop.known import Listed, Set
from tests.crashloop.record import (
    Acknowledged,
    Answered,
    Asked,
    DaemonSeen,
    Record,
    Reported,
    ScheduleAnswered,
    ScheduleAsked,
    Started,
    name_of_occurrence,
    occurrence_of,
)

EVERY_MS = 1000
SET = Set(EVERY_MS, 10_000, "queue", "skip")
THERE = Listed(schedules={"s": SET})


def at(ms: int) -> dict[str, int]:
    """Both clocks."""
    return {"wall_at_ms": ms, "at_ns": ms * 1_000_000}


def daemon(*seen: tuple[str, int]) -> list[Record]:
    """While it lives it answers what is asked every 50 ms."""
    spans = [(begin, end) for (state, begin), (_, end) in pairwise(seen) if state == "lives"]
    submits = [submit for begin, end in spans for submit in range(begin // 50 * 50 + 50, end - 1, 50)]
    said: list[Record] = [DaemonSeen(state, **at(ms)) for state, ms in seen]
    said += [Asked(f"x-{ms}", 1, 0, ms * 1_000_000) for ms in submits]
    said += [Acknowledged(f"x-{ms}", 1, "kept", ms * 1_000_000 + 1) for ms in submits]
    return said


def changed(change: str, asked_ms: int, answered_ms: int | None = None, overlap: str = "queue") -> list[Record]:
    """Answered at once, or later."""
    said = ScheduleAsked("s", change, asked_ms, at_ns=asked_ms * 1_000_000)
    if change == "set":
        said = replace(said, every_ms=EVERY_MS, from_at_ms=10_000, overlap=overlap, missed="skip")
    return [said, ScheduleAnswered("s", **at(answered_ms or asked_ms + 1))]


def ran(instant_ms: int, job_id: int = 0, end: str = "done", begun_ms: int = 0, said_ms: int = 0) -> list[Record]:
    """An occurrence that began and ended, 10 and 20 ms after its instant, if nothing else is said."""
    begun_ms, said_ms = begun_ms or instant_ms + 10, said_ms or instant_ms + 20
    job_id = job_id or instant_ms
    name, handle = name_of_occurrence("s", instant_ms), f"1-{begun_ms}-{job_id}-x"
    return [
        Started(name, 1, handle, instant_ms, begun_ms, begun_ms * 1_000_000),
        Reported(name, 1, handle, end, 0, None, said_ms * 1_000_000),
        Answered(handle, said_ms * 1_000_000 + 1),
    ]


def kinds(*stories: list[Record], listed: Listed = THERE) -> list[str]:
    return [violation.kind for violation in check([each for story in stories for each in story], listed).violations]


LIVES = daemon(("starts", 1), ("lives", 2), ("dies", 12_600), ("dead", 12_610))
IS_SET = changed("set", 9_000)


@pytest.mark.parametrize("at_ms", [1_764_293_400_000, 1_764_293_400_070])
def test_the_name_of_an_occurrence_says_its_instant(at_ms: int) -> None:
    assert occurrence_of(name_of_occurrence("s", at_ms)) == ("s", at_ms)
    assert occurrence_of("c-1@crash-lock-0") is None
    assert occurrence_of(name_of_occurrence("s", at_ms) + "~1-2-3-x") is None


def test_each_instant_at_which_the_daemon_lived_long_enough_has_its_occurrence() -> None:
    assert kinds(LIVES, IS_SET, ran(10_000), ran(11_000), ran(12_000)) == []
    assert kinds(LIVES, IS_SET, ran(10_000), ran(12_000)) == ["left out"]
    short = daemon(("starts", 1), ("lives", 2), ("dies", 12_200), ("dead", 12_201))
    assert kinds(short, IS_SET, ran(10_000), ran(11_000)) == [], "it may have been killed before"
    stuck = [each for each in LIVES if isinstance(each, DaemonSeen) or each.at_ns < 12_200 * 1_000_000]
    assert kinds(stuck, IS_SET, ran(10_000), ran(11_000)) == [], "it was not heard of since"
    late = [each for each in stuck if isinstance(each, DaemonSeen) or each.at_ns < 11_200 * 1_000_000]
    then: list[Record] = [Asked("y", 1, 0, 11_250 * 1_000_000), Acknowledged("y", 1, "kept", 12_000 * 1_000_000)]
    assert kinds(late, then, IS_SET, ran(10_000), ran(12_000)) == [], "it may have come to both at once"


def test_a_change_that_is_not_answered_may_hold_or_not() -> None:
    late = changed("set", 9_000, 12_100)
    assert kinds(LIVES, late) == []
    assert kinds(LIVES, late, ran(11_000)) == []
    pause = changed("pause", 11_100, 12_100)
    paused = Listed(schedules={"s": SET._replace(is_paused=True)})
    assert kinds(LIVES, IS_SET, ran(10_000), pause, listed=paused) == [], "not long enough before it was asked"
    assert kinds(LIVES, IS_SET, ran(10_000), pause, ran(11_000), ran(12_000), listed=paused) == []


def test_of_the_instants_that_passed_while_it_was_dead_the_last_fires() -> None:
    dead_seen = ("starts", 1), ("lives", 2), ("dies", 9_100), ("dead", 9_200), ("starts", 12_100), ("lives", 12_300)
    dead = daemon(*dead_seen, ("dies", 12_900), ("dead", 12_901))
    assert kinds(dead, IS_SET, ran(12_000, begun_ms=12_310)) == []
    assert kinds(dead, IS_SET) == ["left out"]
    both = [*ran(11_000, begun_ms=12_310), *ran(12_000, begun_ms=12_310)]
    assert kinds(dead, IS_SET, both) == ["made up for"]
    at_once = daemon(*dead_seen, ("dies", 12_500), ("dead", 12_501))
    assert kinds(at_once, IS_SET) == [], "it may have been killed before it came to it"


def test_what_passed_while_it_came_up_may_be_left_out() -> None:
    slowly = ("dies", 10_100), ("dead", 10_101), ("starts", 11_100), ("lives", 11_900), ("dies", 12_990)
    seen = daemon(("starts", 1), ("lives", 2), *slowly)
    assert kinds(seen, IS_SET, ran(12_000)) == []
    assert kinds(seen, IS_SET, ran(11_000, begun_ms=11_910), ran(12_000)) == []


def test_an_occurrence_is_there_once() -> None:
    others = [*ran(10_000), *ran(12_000)]
    again = ran(11_000, begun_ms=11_030, said_ms=11_040)
    assert "doubled" in kinds(LIVES, IS_SET, others, ran(11_000), again)
    cut_short = ran(11_000)[:1]
    assert kinds(LIVES, IS_SET, others, cut_short, again) == []
    another = ran(11_000, 77, begun_ms=11_030, said_ms=11_040)
    assert kinds(LIVES, IS_SET, others, cut_short, another) == ["doubled"]
    unanswered = ran(11_000)[:2]
    assert kinds(LIVES, IS_SET, others, unanswered, again) == [], "it may run twice, as any job"


def test_an_occurrence_that_was_run_is_a_job_as_others_are() -> None:
    others = [*ran(10_000), *ran(12_000)]
    assert kinds(LIVES, IS_SET, others, ran(11_000)[:1]) == ["lost"]
    assert kinds(LIVES, IS_SET, others, ran(11_000, begun_ms=10_999)) == ["early"]


def test_nothing_fires_while_it_is_paused_or_removed_or_at_another_time() -> None:
    pause, resume = changed("pause", 10_600), changed("resume", 11_500)
    assert kinds(LIVES, IS_SET, pause, resume, ran(10_000), ran(12_000)) == []
    assert kinds(LIVES, IS_SET, pause, resume, ran(10_000), ran(11_000), ran(12_000)) == ["paused, fires"]
    remove = changed("remove", 10_600)
    assert kinds(LIVES, IS_SET, remove, ran(10_000), listed=Listed()) == []
    assert kinds(LIVES, IS_SET, remove, ran(10_000), ran(11_000), listed=Listed()) == ["paused, fires"]
    assert kinds(LIVES, IS_SET, ran(10_000), ran(11_000), ran(11_500), ran(12_000)) == ["paused, fires"]


def test_what_is_set_while_it_is_paused_stays_paused() -> None:
    paused = Listed(schedules={"s": SET._replace(is_paused=True)})
    changes = [*IS_SET, *changed("pause", 9_100), *changed("set", 9_200)]
    assert kinds(LIVES, changes, listed=paused) == []
    assert kinds(LIVES, changes, ran(11_000), listed=paused) == ["paused, fires"]
    anew = [*changes, *changed("remove", 9_300), *changed("set", 9_400)]
    assert kinds(LIVES, anew, ran(10_000), ran(11_000), ran(12_000)) == []


SKIPS = changed("set", 9_000, overlap="skip")
SKIPS_THERE = Listed(schedules={"s": SET._replace(overlap="skip")})


def test_with_overlap_skip_it_is_left_out_while_the_last_one_is_live() -> None:
    long = ran(10_000, said_ms=11_100)
    assert kinds(LIVES, SKIPS, long, ran(12_000), listed=SKIPS_THERE) == []
    assert kinds(LIVES, SKIPS, long, ran(11_000), ran(12_000), listed=SKIPS_THERE) == ["overlaps"]
    assert kinds(LIVES, SKIPS, long, listed=SKIPS_THERE) == ["left out"], "it was over at the last one"
    assert kinds(LIVES, SKIPS, long[:2], listed=SKIPS_THERE) == [], "that was not answered"
    assert kinds(LIVES, IS_SET, long, ran(11_000), ran(12_000)) == [], "they queue"


def test_one_that_is_set_anew_does_not_know_the_last_one() -> None:
    anew = [*changed("remove", 10_600), *changed("set", 10_700, overlap="skip")]
    long = ran(10_000, said_ms=11_100)
    assert kinds(LIVES, SKIPS, anew, long, ran(11_000), ran(12_000), listed=SKIPS_THERE) == []


def test_what_was_set_last_is_there() -> None:
    occurrences = [*ran(10_000), *ran(11_000), *ran(12_000)]
    for other in (Listed(), Listed(schedules={"s": SET._replace(is_paused=True)})):
        assert kinds(LIVES, IS_SET, occurrences, listed=other) == ["not set"]
    remove = changed("remove", 12_550)
    assert kinds(LIVES, IS_SET, occurrences, remove) == ["not set"]
    assert kinds(LIVES, IS_SET, occurrences, remove[:1]) == [], "it was not answered"
