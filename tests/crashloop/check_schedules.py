"""Holds the occurrences of a schedule against what was set of it and when the daemon lived. Pure, as check.py.

An occurrence is known by its name, which says its instant; that it is there by a run of it or by being listed: in the
end all have run. What counts as a violation:

* **doubled**: there are two jobs of one occurrence (their ids are in the handles), or two runs of it ended with a
  "done" that was answered as one that counts.
* **left out**: the daemon certainly came to an instant, and there is no occurrence. It did if it answered a submit that
  was asked after the instant, and not just after: such a step deals with it first, and is on disk when it answers,
  however busy the machine is. That was before the next instant, since of several that have passed only the last fires,
  and before the schedule was changed. The daemon may have been dead at the instant: that makes no difference, whatever
  ``missed`` says, since those of the load are never a minute late. With ``overlap: skip`` it counts if the occurrence
  before it was certainly over by then.
* **made up for**: an occurrence of an instant that passed while the daemon was certainly dead, and so did the next one.
* **paused, fires**: an occurrence of an instant that is none of what was set then, or at which the schedule was
  certainly paused or removed.
* **overlaps**: with ``overlap: skip`` an occurrence starts, and after that the end of an earlier one is said, and
  answered as one that counts. Not across a removal: a schedule that is set anew does not know that one.
* **not set**: what was set last and answered is not what is there at the end.

A change that was asked and not answered yet may hold or not; each is sent until it is answered.
"""

from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import pairwise

from tests.crashloop.known import NEVER, Life, Listed, Phase, Records, Set, Story
from tests.crashloop.record import Reported, Started, name_of_occurrence

KINDS = ("doubled", "left out", "made up for", "paused, fires", "overlaps")
A_STEP_MS = 200
"""So long may a step of the daemon take, whose time is that of its begin."""
ENDS = ("done", "dead")
Found = tuple[str, str, object]
"""A kind, a name, and what is wrong."""


class Judged:
    """One schedule."""

    def __init__(self, name: str, known: Records, listed: Listed) -> None:
        self._name = name
        self._phases = known.schedules[name]
        self._listed = listed
        self._answered_ns = known.answered_ns
        self._lives = known.lives
        self._deaths = known.deaths
        self._fired = dict(sorted(known.occurrences.get(name, {}).items()))

    def violations(self) -> Iterator[Found]:
        instants: tuple[tuple[str, Iterable[int]], ...] = (
            ("doubled", (at_ms for at_ms in self._fired if self._is_doubled(at_ms))),
            ("left out", sorted(self.due - self._fired.keys())),
            ("made up for", self._made_up_for()),
            ("paused, fires", (at_ms for at_ms in self._fired if not self._may_fire(at_ms))),
            ("overlaps", self._overlapping()),
        )
        for kind, times in instants:
            for at_ms in times:
                yield kind, name_of_occurrence(self._name, at_ms), (self._phases, self._fired.get(at_ms))
        last, there = self._phases[-1], self._listed.schedules.get(self._name)
        if last.answered_ms < NEVER and there != last.now_set:
            yield "not set", self._name, (last, there)

    def _is_doubled(self, at_ms: int) -> bool:
        story, listed = self._fired[at_ms], self._listed.ids.get(name_of_occurrence(self._name, at_ms))
        # Workers may not read a handle; the daemon's own tests may.
        ids = {int(run.handle.split("-")[2]) for run in story.started} | ({listed} - {None})
        done = {end.handle for end in self._ends(story) if end.outcome == "done"}
        return len(ids) > 1 or len(done) > 1

    def _ends(self, story: Story) -> list[Reported]:
        """Those that were answered as ones that count."""
        return [each for each in story.reported if each.outcome in ENDS and each.handle in self._answered_ns]

    def _may_fire(self, at_ms: int) -> bool:
        return any(
            phase.fires is not None and phase.fires.has(at_ms) and phase.asked_ms <= at_ms <= phase.next_answered_ms
            for phase in self._phases
        )

    @cached_property
    def due(self) -> set[int]:
        """The instants of which there must be an occurrence."""
        return {
            at_ms
            for phase in self._phases
            if phase.fires is not None
            for life in self._lives
            for at_ms in _come_to(phase, phase.fires, life)
            if phase.fires.overlap == "queue" or self._was_over_ms(before_ms=at_ms) < at_ms
        }

    def _was_over_ms(self, before_ms: int) -> int:
        """When the last occurrence before this time certainly was."""
        before = [story for at_ms, story in self._fired.items() if at_ms < before_ms]
        if not before:
            return 0
        begun = {run.handle: run for run in before[-1].started}
        return min((self._answered_ms(begun[end.handle]) for end in self._ends(before[-1])), default=NEVER)

    def _answered_ms(self, run: Started) -> int:
        """When the answer to its end was there, by the wall clock."""
        return run.wall_at_ms + (self._answered_ns[run.handle] - run.at_ns) // 1_000_000 + 1

    def _made_up_for(self) -> Iterator[int]:
        """Beside the last of those that passed."""
        for dead_ms, starts_ms in self._deaths:
            for phase in self._phases:
                if phase.fires is not None and phase.answered_ms <= dead_ms <= phase.next_asked_ms:
                    passed = phase.fires.instants(dead_ms, starts_ms)[:-1]
                    yield from (at_ms for at_ms in passed if at_ms in self._fired)

    @property
    def made_up_for(self) -> int:
        """How many there are of instants at which the daemon was certainly dead."""
        return sum(any(dead_ms < at_ms < starts_ms for dead_ms, starts_ms in self._deaths) for at_ms in self._fired)

    @property
    def changes(self) -> int:
        return sum(phase.answered_ms < NEVER for phase in self._phases)

    @property
    def occurrences(self) -> int:
        return len(self._fired)

    def _overlapping(self) -> Iterator[int]:
        if any(phase.now_set is not None and phase.now_set.overlap == "queue" for phase in self._phases):
            return
        last_said_ns = 0
        for earlier_ms, at_ms in pairwise(self._fired):
            ends = [end.at_ns for end in self._ends(self._fired[earlier_ms])]
            last_said_ns = max(last_said_ns, *ends, 0)
            if self._was_removed(earlier_ms, at_ms):
                last_said_ns = 0
            if min(run.at_ns for run in self._fired[at_ms].started) < last_said_ns:
                yield at_ms

    def _was_removed(self, after_ms: int, before_ms: int) -> bool:
        """Perhaps."""
        return any(
            phase.change == "remove" and phase.asked_ms <= before_ms and phase.answered_ms >= after_ms
            for phase in self._phases
        )


def _come_to(phase: Phase, now_set: Set, life: Life) -> Iterator[int]:
    """The instants that the daemon certainly came to in this life, and found to be the last that had passed."""
    end_ms = min(life.dies_ms, phase.next_asked_ms)
    for at_ms in now_set.instants(max(phase.answered_ms, life.lives_ms - now_set.every_ms), end_ms):
        heard_ms = life.heard_ms(by_ms=min(end_ms, at_ms + now_set.every_ms - 1))
        if heard_ms >= max(at_ms, life.lives_ms) + A_STEP_MS:
            yield at_ms


def figures(schedules: Iterable[Judged]) -> dict[str, int]:
    all_of_them = list(schedules)
    return {
        "schedule_changes": sum(each.changes for each in all_of_them),
        "occurrences": sum(each.occurrences for each in all_of_them),
        "of_these_had_to_be": sum(len(each.due) for each in all_of_them),
        "of_these_were_made_up_for": sum(each.made_up_for for each in all_of_them),
    }
