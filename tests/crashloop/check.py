"""Holds what the load wrote down against what the daemon kept: pure, from records and a listing to violations.

What counts as a violation, and why no more than that:

* **lost**: a submit was answered, and afterwards neither it nor a later submit of its name was run to a reported end or
  is listed. A name that somebody began to remove is left out, unless a job of it comes back.
* **run again**: after a ``finish`` with "done" of that version, or of a later one, was answered, a run starts that was
  given out later than the finished one. One that was given out earlier and then forgotten, because the daemon was
  killed before it had written the claim down or because its lease ran out, may begin late; protocol.md, section 6.
* **superseded**: a run of an older version starts after a newer submit was answered, and not just after: a ``perform``
  may have been on its way to its worker at that time (IN_FLIGHT_NS).
* **kept**: a submit was answered with "kept" or "refused", and yet it runs.
* **came back**: what was answered as done, superseded or removed is listed at the end, or a removed job starts.
* **cancelled, runs**: a cancel was answered, and a run starts that is not just under way, or a job of that name is
  listed at the end. Of many nobody is told which were dead and left alone: those listed as dead that did not die after
  the answer.
* **not requeued**: a ``finish`` that made a job dead was answered, then the last of the requests that requeue many and
  mean it, and no run of it starts after they were asked.
* **result gone**: a ``finish`` with "done" was answered of a job that is to have its result kept, or its watcher was
  told so, and at the end it is not there, or not what the worker said.
* **early**: a run starts before its due time, or before the delay of an answered "later" or failure is over.
* **held twice**: a run that was given out later than another of the same lock starts before the end of that other one
  was said, and that end was answered as one that counts. So the other held the lock from before this one was given out
  until after it began: its lease is longer than the loop; who was forgotten by a kill or given out again is refused,
  and a worker that was killed says nothing. Of runs whose end was refused or never answered nothing is certain.
* **never finished**: at the end, when nothing of the group waits or runs, the group's job is parked.
* **finished early**: a group's job starts, and after that a member's end was said, and answered as one that counts.
* **miscounted**: a group's job starts and was told otherwise than how its members end. Nobody takes one away, and
  each ends in one way only. A group that finishes twice is **run again**.
* **not set**: of a function, at the end, what was set last and answered, or asked after that, is not what is set.
* **begun, expired**: a job is kept or was told as expired, and a run of it started.
* **expired, runs**: the first run of a job was given out later than one of a job that was submitted after the first had
  expired. It may lie in its worker's hands for long, so when it starts says nothing.
* **torn batch**: of a batch some jobs are there and some are not, or an older batch than the last answered one.

What is asked of schedules is in check_schedules.py; of an occurrence all of the above, as of any job.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import inf

from tests.crashloop import check_schedules
from tests.crashloop.known import MATCHED, Listed, Records, Story
from tests.crashloop.record import BATCH_JOBS, Record, Reported, Started

KINDS = (
    "lost", "run again", "superseded", "kept", "came back", "cancelled, runs", "not requeued", "result gone", "early",
    "not set", "torn batch", "held twice", "never finished", "finished early", "miscounted",
    "begun, expired", "expired, runs", *check_schedules.KINDS,
)  # fmt: skip
LEFT_ALONE = ("kept", "refused")
"""Results of a submit that changed nothing."""
IN_FLIGHT_NS = 1_000_000_000
"""So long may a ``perform`` be under way to a worker that then writes its start down."""

A_STEP_NS = check_schedules.A_STEP_MS * 1_000_000


@dataclass(frozen=True)
class Violation:
    kind: str
    name: str
    story: object

    def __str__(self) -> str:
        return f"{self.kind}: {self.name}: {self.story}"


@dataclass
class Findings:
    figures: dict[str, int]
    violations: list[Violation]


def check(records: Iterable[Record], listed: Listed) -> Findings:
    known = Records(records)
    violations = [
        Violation(kind, name, story)
        for name, story in known.stories.items()
        for kind in sorted(
            {
                *_violations(story, known.answered_ns, listed.versions.get(name)),
                *_violations_of_cancel(story, listed.versions.get(name), is_dead=name in listed.dead),
                *_violations_of_requeue(story, known.answered_ns),
                *_violations_of_result(name, story, known.answered_ns, listed.results.get(name)),
            }
        )
    ]
    strangers = listed.versions.keys() - known.stories.keys()
    violations += [Violation("came back", name, "nobody submitted it") for name in strangers]
    for group in known.batch_asked:
        versions = listed.batches.get(group, [])
        oldest, newest = known.batch_acknowledged.get(group, 0), known.batch_asked[group]
        torn = bool(versions) and (len(versions) != BATCH_JOBS or len(set(versions)) != 1)
        if torn or not oldest <= max(versions, default=0) <= newest:
            violations.append(Violation("torn batch", group, f"{Counter(versions)}, answered {oldest}, asked {newest}"))
    for func, asked in known.setting_asked.items():
        answered, there = known.setting_acknowledged.get(func, 0), listed.settings.get(func, 0)
        if not answered <= there <= asked:
            violations.append(Violation("not set", func, f"{there}, answered {answered}, asked {asked}"))
    violations += [*_held_twice(known), *_violations_of_groups(known, listed)]
    violations += [*_begun_and_expired(known, listed), *_expired_and_runs(known)]
    schedules = [check_schedules.Judged(name, known, listed) for name in known.schedules]
    violations += [Violation(*found) for each in schedules for found in each.violations()]
    return Findings(_figures(known, listed) | check_schedules.figures(schedules), violations)


def _violations(story: Story, answered_ns: dict[str, int], listed: int | None) -> Iterator[str]:
    stored = [version for version, answer in story.acknowledged.items() if answer.result not in LEFT_ALONE]
    last = max(stored, default=0)
    done = {report.version for report in story.reported if report.outcome == "done"}
    finished = [report for report in story.reported if report.outcome == "done" and report.handle in answered_ns]
    if last and not story.remove_asked and (listed or 0) < last and max(done, default=0) < last:
        yield "lost"
    settled = max((report.version for report in finished), default=0)
    if listed is not None and (listed < last or listed <= settled or story.removed_ns is not None):
        yield "came back"
    for version, answer in story.acknowledged.items():
        if answer.result in LEFT_ALONE and (version == listed or any(run.version == version for run in story.started)):
            yield "kept"
    for run in story.started:
        yield from _violations_of_run(run, story)
        for report in story.reported:
            if _is_after(run, report, answered_ns):
                if report.outcome == "done" and run.version <= report.version:
                    yield "run again"
                if run.version == report.version and run.wall_at_ms < report.not_before_at_ms:
                    yield "early"


def _held_twice(known: Records) -> Iterator[Violation]:
    for lock, runs in known.runs_of_locks().items():
        # Of the ends that counted, of those given out so far, the one that was said last.
        last: Reported | None = None
        for run, end in sorted(runs, key=lambda each: _place(each[0].handle)):
            if last is not None and run.at_ns < last.at_ns:
                yield Violation("held twice", lock, (run, last))
            if end is not None and (last is None or end.at_ns > last.at_ns):
                last = end


def _violations_of_groups(known: Records, listed: Listed) -> Iterator[Violation]:
    for name, group in known.groups.items():
        if name in listed.parked:
            yield Violation("never finished", name, group)
        for run in known.stories[name].started:
            if group.last is not None and run.at_ns < group.last.at_ns:
                yield Violation("finished early", name, (run, group.last))
            if run.told != group.told:
                yield Violation("miscounted", name, (run, group))


def _violations_of_cancel(story: Story, listed: int | None, is_dead: bool) -> Iterator[str]:
    """Only what was dead is left alone."""
    cancel = story.cancel
    if cancel is None or cancel.result == "not_live":
        return
    died_ns = min((report.at_ns for report in story.reported if report.outcome == "dead"), default=0)
    is_left_alone = cancel.result == MATCHED and is_dead and died_ns < cancel.at_ns
    if (listed is not None and not is_left_alone) or any(
        run.at_ns > cancel.at_ns + IN_FLIGHT_NS for run in story.started
    ):
        yield "cancelled, runs"


def _violations_of_requeue(story: Story, answered_ns: dict[str, int]) -> Iterator[str]:
    asked_ns = story.requeue_asked_ns
    if asked_ns is None or story.requeued_ns is None:
        return
    died = any(r.outcome == "dead" and answered_ns.get(r.handle, inf) < asked_ns for r in story.reported)
    if died and not any(run.at_ns > asked_ns for run in story.started):
        yield "not requeued"


def _violations_of_result(name: str, story: Story, answered_ns: dict[str, int], result: bytes | None) -> Iterator[str]:
    done = any(report.outcome == "done" and report.handle in answered_ns for report in story.reported)
    is_to_be_kept = story.is_called and (done or story.told == "done")
    if is_to_be_kept and result != name.encode():
        yield "result gone"


def _begun_and_expired(known: Records, listed: Listed) -> Iterator[Violation]:
    """A run that is the first of such a job is on disk before its worker hears of it, so no kill forgets it."""
    for name, story in known.stories.items():
        if story.started and (name in listed.expired or story.told == "expired"):
            yield Violation("begun, expired", name, story)


def _expired_and_runs(known: Records) -> Iterator[Violation]:
    runs = [(_place(run.handle), run, name, story) for name, story in known.stories.items() for run in story.started]
    # Of the jobs of the runs given out so far, when the last one was submitted.
    asked_ns = 0
    for _, run, name, story in sorted(runs, key=lambda each: each[0]):
        asked = story.asked.get(run.version)
        if asked is None:
            continue
        if asked.expires_at_ms is not None and run.attempt == 1:
            expires_ns = run.at_ns + (asked.expires_at_ms - run.wall_at_ms) * 1_000_000
            if asked_ns > expires_ns + A_STEP_NS:
                yield Violation("expired, runs", name, (run, story))
        asked_ns = max(asked_ns, asked.at_ns)


def _is_after(run: Started, report: Reported, answered_ns: dict[str, int]) -> bool:
    """The run was given out later than the reported one, and began after that report was answered."""
    at_ns = answered_ns.get(report.handle)
    return at_ns is not None and run.at_ns > at_ns and _place(run.handle) > _place(report.handle)


def _place(handle: str) -> tuple[int, int]:
    """Its place in the order of all runs given out. Workers may not read a handle; the daemon's own tests may."""
    boot, number = handle.split("-")[:2]
    return int(boot), int(number)


def _violations_of_run(run: Started, story: Story) -> Iterator[str]:
    for version, answer in story.acknowledged.items():
        if answer.result not in LEFT_ALONE and run.version < version and run.at_ns > answer.at_ns + IN_FLIGHT_NS:
            yield "superseded"
    if story.removed_ns is not None and run.at_ns > story.removed_ns + IN_FLIGHT_NS:
        yield "came back"
    if run.version not in story.asked:
        yield "came back"
    elif run.wall_at_ms < max(run.due_at_ms, story.asked[run.version].not_before_at_ms):
        yield "early"


def _figures(known: Records, listed: Listed) -> dict[str, int]:
    stories = known.stories.values()
    reports = [report for story in stories for report in story.reported]
    done = [report for report in reports if report.outcome == "done"]
    return {
        "submits_acknowledged": sum(len(story.acknowledged) for story in stories),
        "submits_unanswered": sum(len(story.asked) - len(story.acknowledged) for story in stories),
        "removes_acknowledged": sum(story.removed_ns is not None for story in stories),
        "cancels_acknowledged": sum(story.cancel is not None for story in stories),
        "of_these_running": sum(story.cancel is not None and story.cancel.result == "asked" for story in stories),
        "requests_on_many": known.many_acknowledged,
        "results_told": sum(story.told is not None for story in stories),
        "expired": len(listed.expired),
        "settings_acknowledged": sum(known.setting_acknowledged.values()),
        "batches_acknowledged": known.batches_acknowledged,
        "runs": sum(len(story.started) for story in stories),
        "runs_that_held_a_lock": sum(map(len, known.runs_of_locks().values())),
        "groups_that_finished": sum(bool(known.stories[name].started) for name in known.groups),
        "runs_cut_short": sum(len(story.started) for story in stories) - len(reports),
        "finishes_acknowledged": len(known.answered_ns),
        "finishes_refused": known.refused,
        "done_acknowledged": sum(report.handle in known.answered_ns for report in done),
        "done_unacknowledged_twice": len(done) - len({(report.name, report.version) for report in done}),
        "listed_at_the_end": len(listed.versions) + sum(map(len, listed.batches.values())),
    }
