"""How jobs end, for whoever waits for one: what a watch tells, and the exceptions that stand for each ending.

Values only; the words are protocol.md's (``watch``, and section 4 for groups).
"""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple, Self


class Progress(NamedTuple):
    """How far a run is, as its worker told it last."""

    done: int
    """In any unit."""
    total: int | None
    note: str


class News(NamedTuple):
    """What a watch tells of a job: how it stands, and what its run told since the news before."""

    id: int
    ended: bool
    """There will be no more news."""
    ending: str | None
    """How it ended: "done", "dead", "removed", "replaced", "cancelled", "expired"; later daemons may know more."""
    data: bytes | None
    """The result. None if there is none yet, or if it is not kept."""
    data_bytes: int
    """How large the result is, also if it is not here."""
    reason: str | None
    """Why it was cancelled, or of the last failure."""
    state: str | None
    """Of a job that has not ended: "waiting", "running", "behind", "parked"."""
    attempt: int | None
    """Runs given out."""
    progress: Progress | None
    chunks: tuple[bytes, ...]
    """What the run sent since the news before. Of what a run sends the last 64 KiB are kept, for who is slow."""
    missed: int | None
    """Chunks since the news before that are not kept any more; None: unknown, the daemon was started anew."""

    @classmethod
    def from_wire(cls, answer: dict[str, Any]) -> Self:
        """Of an answer to ``watch`` that has found the job."""
        told = answer.get("progress")
        progress = Progress(told["done"], told.get("total"), told.get("note") or "") if told else None
        given = {key: answer.get(key) for key in cls._fields}
        return cls(**given | {"progress": progress, "chunks": tuple(answer["chunks"])})


class Group(NamedTuple):
    """How many members a group had when it finished, and how they had ended, for who runs its job."""

    members: int
    done: int
    dead: int
    removed: int
    """Or replaced."""
    cancelled: int
    expired: int

    @classmethod
    def from_headers(cls, headers: Mapping[str, str]) -> Self | None:
        """None if the job is not that of a group."""
        try:
            return cls(*[int(headers[f"group-{field}"]) for field in cls._fields])
        except (KeyError, ValueError):
            return None


class Broadcast(NamedTuple):
    """How many runs a broadcast had, and how they ended: its result."""

    runs: int
    done: int
    failed: int
    """Or were to come later: none is run again."""
    lost: int
    """Their connection was, or they had not reported when its lease was over or the daemon restarted."""

    @classmethod
    def from_result(cls, result: bytes) -> Self:
        """Raises ValueError if it is not that of a broadcast."""
        try:
            told = json.loads(result)
            return cls(*(int(told[field]) for field in cls._fields))
        except (TypeError, KeyError, ValueError):
            raise ValueError(f"this is not the result of a broadcast: {result!r:.100}") from None


class NotDone(Exception):
    """The job ended, and is not done. Base of all endings but one; itself it is one that this version does not know.

    ``func``, ``name``, ``id`` and ``ending`` say which job, and how it ended; ``reason`` is why it was cancelled, or of
    its last failure; ``attempt`` is how many of its runs were given out.
    """

    how = "ended otherwise than done"

    def __init__(self, func: str, name: str, news: News | None = None) -> None:
        self.func, self.name = func, name
        self.id = news and news.id
        self.ending = news and news.ending
        self.reason = news and news.reason
        self.attempt = news and news.attempt
        super().__init__(f"{func} {name} {self.how}" + (f": {self.reason}" if self.reason else ""))


class JobDead(NotDone):
    """It failed past its limit, or was given up."""

    how = "failed and is not tried again"


class JobRemoved(NotDone):
    """Somebody took it away."""

    how = "was removed"


class JobReplaced(NotDone):
    """A newer job of its name took its place."""

    how = "was replaced by a newer job of its name"


class JobCancelled(NotDone):
    """Somebody cancelled it."""

    how = "was cancelled"


class JobExpired(NotDone):
    """It had not begun by its ``expires_at_ms``."""

    how = "expired"


class JobRefused(NotDone):
    """It was not put: there is a job of its name, and ``existing`` is "refuse"."""

    how = "exists already, and nothing was put"


class ResultLost(NotDone):
    """It may be done, but its result is not known any more; or there never was such a job.

    A result is kept for as long as the job's ``result_ms`` says, unless there are too many.
    """

    how = "is not there, and no result of it is kept"


ENDINGS: dict[str, type[NotDone]] = {
    "dead": JobDead,
    "removed": JobRemoved,
    "replaced": JobReplaced,
    "cancelled": JobCancelled,
    "expired": JobExpired,
}


def result_of(func: str, name: str, news: News) -> bytes:
    """The data of a job that is done. Raises NotDone, by its ending."""
    if news.ending != "done":
        raise ENDINGS.get(news.ending or "", NotDone)(func, name, news)
    if news.data is None and news.data_bytes:
        raise ResultLost(func, name, news)
    return news.data or b""
