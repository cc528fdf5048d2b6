"""What is known at the end: of each name all that the load wrote down, of each group, and what the daemon still has.

Puts together, and judges nothing: that is check.py's.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

from tests.crashloop.record import (
    CROWD_JOBS,
    CROWD_STEP_MS,
    Acknowledged,
    Answered,
    Asked,
    BatchAcknowledged,
    BatchAsked,
    Called,
    CancelAsked,
    Cancelled,
    CrowdAcknowledged,
    CrowdAsked,
    DaemonSeen,
    GroupAsked,
    MatchingAnswered,
    MatchingAsked,
    Record,
    Refused,
    RemoveAsked,
    Removed,
    Reported,
    ScheduleAnswered,
    ScheduleAsked,
    SettingAcknowledged,
    SettingAsked,
    Started,
    Told,
    group_of,
    lock_of,
    occurrence_of,
)

MATCHED = "matched"
"""In place of a result: of a cancel that meant many nobody is told what it was for each."""
NEVER = 2**62
"""Later than any time."""


class Set(NamedTuple):
    """What is set of a schedule."""

    every_ms: int
    from_at_ms: int
    overlap: str
    missed: str
    is_paused: bool = False

    def has(self, at_ms: int) -> bool:
        """Whether it is one of its instants."""
        return at_ms >= self.from_at_ms and (at_ms - self.from_at_ms) % self.every_ms == 0

    def instants(self, after_ms: int, until_ms: int) -> range:
        first_ms = max(after_ms + 1, self.from_at_ms)
        return range(first_ms + (self.from_at_ms - first_ms) % self.every_ms, until_ms + 1, self.every_ms)


class Phase(NamedTuple):
    """A schedule from one change of it to the next. By the wall clock; NEVER: not answered, or there is no next."""

    change: str
    now_set: Set | None
    """None: it is removed."""
    asked_ms: int
    answered_ms: int = NEVER
    next_asked_ms: int = NEVER
    next_answered_ms: int = NEVER

    @property
    def fires(self) -> Set | None:
        return None if self.now_set is None or self.now_set.is_paused else self.now_set


class Life(NamedTuple):
    """Of the daemon, while it certainly lived. By the wall clock."""

    lives_ms: int
    dies_ms: int
    answers: list[tuple[int, int]]
    """When a submit was answered, and of those answered so far when the last one was asked."""

    def heard_ms(self, by_ms: int) -> int:
        """By then it has said that it had got a submit which was asked at this time: it has made a step since."""
        place = bisect_right(self.answers, (by_ms, NEVER))
        return self.answers[place - 1][1] if place else 0


@dataclass
class Listed:
    """What the daemon still has: the version of each single job, and of each job of a batch by its group."""

    versions: dict[str, int] = field(default_factory=dict)
    dead: set[str] = field(default_factory=set)
    parked: set[str] = field(default_factory=set)
    batches: dict[str, list[int]] = field(default_factory=dict)
    settings: dict[str, int] = field(default_factory=dict)
    """The ``queue_max`` of functions that have one."""
    results: dict[str, bytes] = field(default_factory=dict)
    """Of the jobs of which it is kept how they ended, those that are done."""
    expired: set[str] = field(default_factory=set)
    """Of the same."""
    ids: dict[str, int] = field(default_factory=dict)
    """Of each single job."""
    schedules: dict[str, Set] = field(default_factory=dict)


@dataclass
class Story:
    """All that is known of one name."""

    asked: dict[int, Asked] = field(default_factory=dict)
    acknowledged: dict[int, Acknowledged] = field(default_factory=dict)
    remove_asked: bool = False
    removed_ns: int | None = None
    cancel: Cancelled | None = None
    requeue_asked_ns: int | None = None
    requeued_ns: int | None = None
    is_called: bool = False
    told: str | None = None
    """How it ended."""
    started: list[Started] = field(default_factory=list)
    reported: list[Reported] = field(default_factory=list)


@dataclass
class Group:
    """What is to become of its members, those that follow on others included."""

    members: int = 0
    dead: int = 0
    last: Reported | None = None
    """Of the ends that counted, the one that was said last."""

    @property
    def told(self) -> dict[str, int]:
        ends = {"done": self.members - self.dead, "dead": self.dead, "removed": 0, "cancelled": 0, "expired": 0}
        return {"members": self.members, **ends}


class Records:
    def __init__(self, records: Iterable[Record]) -> None:
        self.stories: dict[str, Story] = {}
        self.answered_ns: dict[str, int] = {}
        self.refused = 0
        self.batches_acknowledged = 0
        self.many_acknowledged = 0
        self.batch_asked: dict[str, int] = {}
        self.batch_acknowledged: dict[str, int] = {}
        self.setting_asked: dict[str, int] = {}
        self.setting_acknowledged: dict[str, int] = {}
        self.groups: dict[str, Group] = {}
        self.schedules: dict[str, list[Phase]] = {}
        self.occurrences: dict[str, dict[int, Story]] = {}
        """Of each schedule, by their instants."""
        self.daemon: list[DaemonSeen] = []
        for record in sorted(records, key=lambda record: record.at_ns):
            self._take(record)
        self._take_follow_ons()
        self._take_occurrences()
        self._take_ends_of_members()

    def _take(self, record: Record) -> None:
        match record:
            case Answered():
                self.answered_ns[record.handle] = record.at_ns
            case Refused():
                self.refused += 1
            case BatchAsked():
                self.batch_asked[record.group] = record.version
            case BatchAcknowledged():
                self.batch_acknowledged[record.group] = record.version
                self.batches_acknowledged += 1
            case SettingAsked():
                self.setting_asked[record.func] = record.queue_max
            case SettingAcknowledged():
                self.setting_acknowledged[record.func] = record.queue_max
            case GroupAsked():
                group = self.groups.setdefault(record.group, Group())
                group.members += record.members + record.joins
                group.dead += record.dies
            case ScheduleAsked() | ScheduleAnswered():
                self._take_of_schedule(record, self.schedules.setdefault(record.name, []))
            case DaemonSeen():
                self.daemon.append(record)
            case CrowdAsked() | CrowdAcknowledged() | MatchingAsked() | MatchingAnswered():
                self.many_acknowledged += isinstance(record, MatchingAnswered)
                for number in range(CROWD_JOBS):
                    name = f"{record.group}-{number}"
                    self._take_of_crowd(record, number, name, self.stories.setdefault(name, Story()))
            case _:
                self._take_of_name(record, self.stories.setdefault(record.name, Story()))

    def _take_of_crowd(self, record: Record, number: int, name: str, story: Story) -> None:
        match record:
            case CrowdAsked():
                story.asked[1] = Asked(name, 1, record.not_before_at_ms + number * CROWD_STEP_MS, record.at_ns)
            case CrowdAcknowledged():
                story.acknowledged[1] = Acknowledged(name, 1, "created", record.at_ns)
            case MatchingAsked(method="requeue_matching"):
                story.requeue_asked_ns = record.at_ns
            case MatchingAsked():
                story.remove_asked = True
            case MatchingAnswered(method="requeue_matching"):
                story.requeued_ns = record.at_ns
            case MatchingAnswered(method="cancel_matching"):
                story.cancel = Cancelled(name, MATCHED, record.at_ns)
            case MatchingAnswered():
                story.removed_ns = record.at_ns

    def _take_of_schedule(self, record: ScheduleAsked | ScheduleAnswered, phases: list[Phase]) -> None:
        """They follow one another."""
        if isinstance(record, ScheduleAnswered):
            phases[-1] = phases[-1]._replace(answered_ms=record.wall_at_ms)
            if len(phases) > 1:
                phases[-2] = phases[-2]._replace(next_answered_ms=record.wall_at_ms)
            return
        now_set = phases[-1].now_set if phases else None
        if record.change == "set":
            is_paused = now_set is not None and now_set.is_paused
            now_set = Set(record.every_ms, record.from_at_ms, record.overlap, record.missed, is_paused)
        elif record.change == "remove":
            now_set = None
        elif now_set is not None:
            now_set = now_set._replace(is_paused=record.change == "pause")
        if phases:
            phases[-1] = phases[-1]._replace(next_asked_ms=record.wall_at_ms)
        phases.append(Phase(record.change, now_set, record.wall_at_ms))

    def _take_of_name(self, record: Record, story: Story) -> None:
        match record:
            case Asked():
                # Or it is asked once more.
                story.asked.setdefault(record.version, record)
            case Acknowledged():
                story.acknowledged[record.version] = record
            case RemoveAsked():
                story.remove_asked = True
            case Removed():
                story.removed_ns = record.at_ns
            case CancelAsked():
                story.remove_asked = True
            case Cancelled():
                story.cancel = record
            case Called():
                story.is_called = True
            case Told():
                story.told = record.ending
            case Started():
                story.started.append(record)
            case Reported():
                story.reported.append(record)

    @cached_property
    def deaths(self) -> list[tuple[int, int]]:
        """From when until when the daemon was certainly dead, by the wall clock."""
        return [(first.wall_at_ms, second.wall_at_ms) for first, second in self._seen("dead", "starts")]

    @cached_property
    def lives(self) -> list[Life]:
        answers = sorted(
            (answer.at_ns, story.asked[version].at_ns)
            for story in self.stories.values()
            for version, answer in story.acknowledged.items()
            if version in story.asked
        )
        return [_life(first, second, answers) for first, second in self._seen("lives", "dies")]

    def _seen(self, begin: str, end: str) -> Iterator[tuple[DaemonSeen, DaemonSeen]]:
        for first, second in pairwise(self.daemon):
            if (first.state, second.state) == (begin, end):
                yield first, second

    def runs_of_locks(self) -> dict[str, list[tuple[Started, Reported | None]]]:
        """Of each lock the runs that held it, with the ends of those whose end was answered as one that counts."""
        found: dict[str, list[tuple[Started, Reported | None]]] = {}
        for name, story in self.stories.items():
            if lock := lock_of(name):
                ends = {report.handle: report for report in story.reported if report.handle in self.answered_ns}
                found.setdefault(lock, []).extend((run, ends.get(run.handle)) for run in story.started)
        return found

    def _take_follow_ons(self) -> None:
        """A job in an outcome is submitted with it, and acknowledged with it."""
        for report in [report for story in self.stories.values() for report in story.reported]:
            if report.follow_on is not None:
                story = self.stories.setdefault(report.follow_on, Story())
                story.asked[1] = Asked(report.follow_on, 1, 0, report.at_ns)
                answered_ns = self.answered_ns.get(report.handle)
                if answered_ns is not None:
                    story.acknowledged[1] = Acknowledged(report.follow_on, 1, "created", answered_ns)

    def _take_occurrences(self) -> None:
        """Who was given one knows that it was submitted, and kept, before that. It is not due before its instant.

        Nobody asked, so it is not known since when it is there.
        """
        for name, story in self.stories.items():
            occurrence = occurrence_of(name)
            if occurrence is not None and story.started:
                schedule, at_ms = occurrence
                self.occurrences.setdefault(schedule, {})[at_ms] = story
                story.asked[1] = Asked(name, 1, at_ms, 0)
                story.acknowledged[1] = Acknowledged(name, 1, "created", story.started[0].at_ns)

    def _take_ends_of_members(self) -> None:
        for name, story in self.stories.items():
            group = self.groups.get(group_of(name) or "")
            ends = [each for each in story.reported if each.outcome != "again" and each.handle in self.answered_ns]
            if group is not None and ends:
                group.last = max([*ends, *filter(None, [group.last])], key=lambda end: end.at_ns)


def _life(first: DaemonSeen, second: DaemonSeen, answers: list[tuple[int, int]]) -> Life:
    """``answers``: when all submits were answered and asked, in that order, by the clock that orders records."""
    heard = list[tuple[int, int]]()
    last_ns = first.at_ns
    for answered_ns, asked_ns in answers[bisect_left(answers, (first.at_ns, 0)) :]:
        if answered_ns > second.at_ns:
            break
        last_ns = max(last_ns, asked_ns)
        answered_ms, asked_ms = (
            first.wall_at_ms + (at_ns - first.at_ns) // 1_000_000 for at_ns in (answered_ns, last_ns)
        )
        heard.append((answered_ms + 1, asked_ms))
    return Life(first.wall_at_ms, second.wall_at_ms, heard)
