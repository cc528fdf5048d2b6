"""What was said to whom in a simulation: what the promises go by.

Each submit has a version of its own as its workload, so that every run, record and report can be traced to the submit
that it came from.
"""

from collections import Counter
from dataclasses import dataclass, field

LARGE_BYTES = 50_000
"""Of some results. A few of them are more than is kept."""


class Broken(AssertionError):
    """A promise was broken."""


@dataclass
class Version:
    """One submit."""

    func: str
    name: str
    number: int
    acknowledged: bool = False
    excuses: list[str] = field(default_factory=list)
    """What may have made it disappear: it was reported done, or a remove or a later submit of its name was sent."""
    finished: bool = False
    """A ``finish`` with done was answered: it must never run again."""
    existing: str | None = None
    """What was to become of a job that is there."""
    unwanted: bool = False
    """It was answered "kept" or "refused", or is the follow-on of a report that was refused: it must not exist."""
    id: int | None = None
    """As it was answered."""
    may_be_removed_dead: bool = False
    """A request on many was sent that takes it away if it is dead."""
    was_given: bool = False
    """A ``perform`` left; before that it is not dead."""
    runs: int = 0
    fails_sent: int = 0
    ran_out: int = 0
    broadcast: bool = False
    recurs: bool = False
    """It is of a schedule: each of its occurrences has a version of its own besides."""

    @property
    def key(self) -> tuple[str, str]:
        return self.func, self.name


class Book:
    def __init__(self) -> None:
        self.versions: dict[int, Version] = {}
        self._occurrences: dict[int, Version] = {}
        """By job."""
        self.latest: dict[tuple[str, str], list[Version]] = {}
        self._flying: dict[int, tuple[str, str]] = {}
        """Submits and removes on their way, which may arrive after what is sent later over another link."""
        self._flights = 0
        self.answers: Counter[tuple[str, bool]] = Counter()
        """By method, and whether it was done."""
        self.orphans = 0
        """Reports that were refused."""
        self.reports_sent: Counter[str] = Counter()
        """By handle: how often an outcome of the run was sent."""
        self.accepted: set[str] = set()
        """Handles whose ``finish`` was answered."""
        self.runs: dict[int, Version] = {}
        """By the number of the run."""
        self.heard: set[int] = set()
        """Runs whose response has arrived at the daemon."""
        self.removed: set[tuple[str, str]] = set()
        """For which a ``remove`` was sent, which takes away what runs too."""
        self.sent: Counter[tuple[str, tuple[str, str]]] = Counter()
        """By method and name, how often a job was to be taken away or its run ended."""
        self.done_sent: dict[int, set[bytes | None]] = {}
        """By job: the results of the reports that said done."""
        self.parts_sent: dict[int, dict[str, bool]] = {}
        """By broadcast: the handles of its runs of which a report was sent, and whether that said done."""
        self.ran_out: set[int] = set()
        """Runs whose leases did, says the daemon."""
        self.taken: dict[int, str] = {}
        """Runs that are no connection's, as far as it was said to the daemon, and their handles."""
        self.chunks = 0
        """That runs told."""

    def submit(self, func: str, name: str, existing: str | None) -> Version:
        version = self._version(func, name)
        version.existing = existing
        if (func, name) in self._flying.values():
            version.excuses.append("something sent before it may arrive after it")
        if existing in ("replace", "keep_live", None):
            self.excuse(func, name, f"version {version.number} was submitted", but=version)
        return version

    def follow_on(self, func: str, name: str, of: Version | None) -> Version:
        """A job that comes with a run's end. Of its name it takes the place of that run's job only."""
        version = self._version(func, name)
        if of is not None:
            of.excuses.append(f"version {version.number} follows on it")
        return version

    def schedule(self, func: str, name: str) -> Version:
        """One is set. Its occurrences are never acknowledged."""
        version = self._version(func, name)
        version.recurs = True
        return version

    def is_occurrence(self, workload: bytes | None) -> bool:
        return self.versions[token(workload)].recurs

    def version_of(self, workload: bytes | None, name: str, job_id: int) -> Version:
        version = self.versions[token(workload)]
        if not version.recurs:
            return version
        return self._occurrences.setdefault(job_id, Version(version.func, name, version.number))

    def _version(self, func: str, name: str) -> Version:
        version = self.versions[len(self.versions) + 1] = Version(func, name, len(self.versions) + 1)
        self.latest.setdefault((func, name), []).append(version)
        return version

    def is_accepted(self, handle: str) -> None:
        """A ``finish`` was answered."""
        if handle in self.accepted:
            raise Broken(f"two reports of {handle} were accepted")
        self.accepted.add(handle)

    def takes_off(self, func: str, name: str) -> int:
        """A submit or remove of this name is sent; returns its flight."""
        self._flights += 1
        self._flying[self._flights] = func, name
        return self._flights

    def lands(self, flight: int) -> None:
        """It was answered, or its link is gone: it will not arrive any more."""
        self._flying.pop(flight, None)

    def excuse_many(self, func: str, name: str, state: str, before_id: int | None) -> None:
        """A ``remove_matching`` was sent that means the jobs of this name, in this state and with smaller ids."""
        for version in self.latest.get((func, name), ()):
            if before_id is None or version.id is None or version.id < before_id:
                if state == "dead":
                    version.may_be_removed_dead = True
                else:
                    version.excuses.append("a remove_matching was sent")

    def excuse(self, func: str, name: str, why: str, but: Version | None = None) -> None:
        for version in self.latest.get((func, name), ()):
            if version is not but:
                version.excuses.append(why)


def token(workload: bytes | None) -> int:
    """The version that a workload stands for."""
    assert workload is not None
    return int(workload.split(b".")[0])


def job_of(handle: str) -> int:
    """The id of a handle's job, which is its third part."""
    return int(handle.split("-")[2])
