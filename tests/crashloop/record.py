"""What each process of the load saw, one line a record, synced before its next step: the checker's only source.

A record is written by the process that sent or received, so it does not depend on what the daemon believes. Two clocks
are in it: ``at_ns`` is the machine's monotonic clock, which all processes share and which orders records of different
files; ``..._ms`` is the wall clock, which says when jobs are due.
"""

import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

FUNC = "crash"
"""Jobs that are run."""
LOCK_FUNC = "crash-lock"
"""Jobs that are run and hold a lock of capacity 1 meanwhile, which their name tells: ``lock_of``."""
LOCKS = 4
LOCK_LEASE_MS = 600_000
"""Longer than the loop, so that no lease frees a lock: only an end, or the loss of a worker."""
GROUP_FUNC = "crash-group"
"""The jobs of groups. Members are of FUNC, and their names tell the group's: ``group_of``."""
FAR_FUNC = "crash-far"
"""Jobs that are due long after the loop, and stay where they are."""
BATCH_FUNC = "crash-batch"
"""Jobs that are replaced in batches, all of a batch or none. Their due time is BATCH_DUE_AT_MS plus their version."""
RESULT_MS = 86_400_000
"""Longer than the loop."""
FAR_MS = 86_400_000
BATCH_DUE_AT_MS = 4_000_000_000_000
BATCH_JOBS = 500
CROWD_JOBS = 120
"""More than a request on many changes, so that there are several, and a kill in between."""
CROWD_STEP_MS = 40
"""So much later than the one before is each job of a crowd due: when it is changed some have run, some run, some wait.
"""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def name_of_locked(who: str, lock: int, number: int) -> str:
    return f"{who}-{number}@{LOCK_FUNC}-{lock}"


def lock_of(name: str) -> str | None:
    """The lock that the job of this name holds while it runs."""
    lock = name.partition("@")[2]
    return lock if lock.startswith(LOCK_FUNC) else None


def func_of(name: str) -> str:
    """Of a job whose end is kept."""
    return LOCK_FUNC if lock_of(name) else FUNC


def name_of_member(group: str, number: int) -> str:
    return f"{group}#{number}"


def group_of(name: str) -> str | None:
    """The name of the group's job, if the job of this name is a member."""
    group, is_member, _ = name.partition("#")
    return group if is_member else None


def occurrence_of(name: str) -> tuple[str, int] | None:
    """The schedule and the instant of the job of this name, if a schedule submitted it."""
    schedule, _, instant = name.partition("@")
    try:
        at = datetime.fromisoformat(instant)
    except ValueError:
        return None
    return schedule, (at - EPOCH) // timedelta(milliseconds=1)


def name_of_occurrence(schedule: str, at_ms: int) -> str:
    seconds, ms = divmod(at_ms, 1000)
    return f"{schedule}@{EPOCH + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%S}{f'.{ms:03}' if ms else ''}Z"


@dataclass(frozen=True, slots=True)
class Asked:
    """A submit is about to be sent. Each try has a version of its own, higher than those of the name before it."""

    name: str
    version: int
    not_before_at_ms: int
    at_ns: int = field(default_factory=time.monotonic_ns)
    expires_at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The submit was answered."""

    name: str
    version: int
    result: str
    at_ns: int = field(default_factory=time.monotonic_ns)


@dataclass(frozen=True, slots=True)
class RemoveAsked:
    """A remove is about to be sent. It is sent until it is answered, and is the last that is done with the name."""

    name: str
    at_ns: int = field(default_factory=time.monotonic_ns)


@dataclass(frozen=True, slots=True)
class Removed:
    name: str
    at_ns: int = field(default_factory=time.monotonic_ns)


@dataclass(frozen=True, slots=True)
class CancelAsked:
    """A cancel is about to be sent. It is sent until it is answered, and is the last that is done with the name."""

    name: str
    at_ns: int = field(default_factory=time.monotonic_ns)


@dataclass(frozen=True, slots=True)
class Cancelled:
    name: str
    result: str
    at_ns: int = field(default_factory=time.monotonic_ns)


@dataclass(frozen=True, slots=True)
class Called:
    """A job whose result is to be kept for longer than the loop lasts is about to be submitted, by ``keep``."""

    name: str
    at_ns: int = field(default_factory=time.monotonic_ns)


@dataclass(frozen=True, slots=True)
class Told:
    """Its watcher was told how it ended."""

    name: str
    ending: str
    at_ns: int = field(default_factory=time.monotonic_ns)


@dataclass(frozen=True, slots=True)
class BatchAsked:
    """BATCH_JOBS jobs of this version, named after the group, are about to be sent as one batch."""

    group: str
    version: int
    at_ns: int = field(default_factory=time.monotonic_ns)


@dataclass(frozen=True, slots=True)
class BatchAcknowledged:
    group: str
    version: int
    at_ns: int = field(default_factory=time.monotonic_ns)


@dataclass(frozen=True, slots=True)
class GroupAsked:
    """Some of a group's members are about to be sent: again until that is answered, when they have been put once.

    ``joins``: so many of them end with a follow-on that is a member too; ``dies``: so many with their death.
    """

    group: str
    members: int
    joins: int
    dies: int
    at_ns: int = field(default_factory=time.monotonic_ns)


@dataclass(frozen=True, slots=True)
class SettingAsked:
    """A ``queue_max`` of this function is about to be set, greater than those before. Nobody else sets any of it."""

    func: str
    queue_max: int
    at_ns: int = field(default_factory=time.monotonic_ns)


@dataclass(frozen=True, slots=True)
class SettingAcknowledged:
    func: str
    queue_max: int
    at_ns: int = field(default_factory=time.monotonic_ns)


@dataclass(frozen=True, slots=True)
class CrowdAsked:
    """CROWD_JOBS jobs of version 1, named after the group, are about to be sent as one batch, for this time and on."""

    group: str
    not_before_at_ms: int
    at_ns: int = field(default_factory=time.monotonic_ns)


@dataclass(frozen=True, slots=True)
class CrowdAcknowledged:
    group: str
    at_ns: int = field(default_factory=time.monotonic_ns)


@dataclass(frozen=True, slots=True)
class MatchingAsked:
    """A request on many that means a crowd is about to be sent: again until all are answered, and then nothing more is
    done with its names.
    """

    group: str
    method: str
    at_ns: int = field(default_factory=time.monotonic_ns)


@dataclass(frozen=True, slots=True)
class MatchingAnswered:
    """There is nothing more to be changed."""

    group: str
    method: str
    at_ns: int = field(default_factory=time.monotonic_ns)


@dataclass(frozen=True, slots=True)
class ScheduleAsked:
    """A schedule is about to be changed. It is asked until it is answered; nobody else changes this one.

    ``change``: "set", with all that follows, "pause", "resume" or "remove".
    """

    name: str
    change: str
    wall_at_ms: int
    every_ms: int = 0
    from_at_ms: int = 0
    overlap: str = ""
    missed: str = ""
    at_ns: int = field(default_factory=time.monotonic_ns)


@dataclass(frozen=True, slots=True)
class ScheduleAnswered:
    name: str
    wall_at_ms: int
    at_ns: int = field(default_factory=time.monotonic_ns)


@dataclass(frozen=True, slots=True)
class DaemonSeen:
    """What the loop knows of the daemon's life: ``state`` is certain from the one record to the next.

    "starts": it is about to be started, and may live. "lives": it listens. "dies": it is about to be killed. "dead".
    """

    state: str
    wall_at_ms: int
    at_ns: int = field(default_factory=time.monotonic_ns)


@dataclass(frozen=True, slots=True)
class Started:
    """A worker begins a run. ``told``: what the job of a group is told of its members. ``attempt``: which run it is."""

    name: str
    version: int
    handle: str
    due_at_ms: int
    wall_at_ms: int
    at_ns: int = field(default_factory=time.monotonic_ns)
    told: dict[str, int] | None = None
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class Reported:
    """The end of a run is about to be sent. ``outcome``: "done", "again" (failed or later), "dead".

    ``not_before_at_ms``: when it may run again at the earliest. ``follow_on``: the name of the job that goes with it.
    """

    name: str
    version: int
    handle: str
    outcome: str
    not_before_at_ms: int
    follow_on: str | None
    at_ns: int = field(default_factory=time.monotonic_ns)


@dataclass(frozen=True, slots=True)
class Answered:
    """The report was answered: it is on disk."""

    handle: str
    at_ns: int = field(default_factory=time.monotonic_ns)


@dataclass(frozen=True, slots=True)
class Refused:
    """The report was refused: a later run was given out, or an earlier try of the same report arrived unanswered."""

    handle: str
    at_ns: int = field(default_factory=time.monotonic_ns)


Record = (
    Asked | Acknowledged | RemoveAsked | Removed | CancelAsked | Cancelled | Called | Told
    | BatchAsked | BatchAcknowledged | CrowdAsked | CrowdAcknowledged | MatchingAsked | MatchingAnswered
    | SettingAsked | SettingAcknowledged | GroupAsked | ScheduleAsked | ScheduleAnswered | DaemonSeen
    | Started | Reported | Answered | Refused
)  # fmt: skip
KINDS: dict[str, type[Record]] = {kind.__name__: kind for kind in Record.__args__}


class RecordFile:
    """Appends records to a new file of this process in ``folder``."""

    def __init__(self, folder: Path, who: str) -> None:
        path = folder / f"{who}-{os.getpid()}.records"
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)

    def write(self, record: Record) -> None:
        """Returns when the record is synced."""
        line = json.dumps([type(record).__name__, asdict(record)]) + "\n"
        os.write(self._file, line.encode())
        os.fsync(self._file)


def read(folder: Path) -> Iterator[Record]:
    """All records below the folder. A process killed while it wrote leaves half a line, of a step it never made."""
    for path in sorted(folder.glob("*.records")):
        for line in path.read_text().splitlines(keepends=True):
            if line.endswith("\n"):
                kind, values = json.loads(line)
                yield KINDS[kind](**values)
