"""Dead jobs, told apart by what they died of: one group for each function and each first line of a reason.

Digits are made alike, so that "no such file: 17.jpg" and "no such file: 18.jpg" are one. Takes no more memory than so
many groups, however many jobs there are. Python alone.
"""

import re
from dataclasses import asdict, dataclass
from typing import Any

GROUPS_MAX = 1_000
"""More are not read; what belongs to none of the first is counted."""

_DIGITS = re.compile(r"\d+")


@dataclass(slots=True)
class DeadGroup:
    func: str
    reason: str
    count: int
    first_at_ms: int
    """When the first of them died."""
    last_at_ms: int
    name: str
    """Of the one that died last."""


class DeadGroups:
    def __init__(self, most: int = GROUPS_MAX) -> None:
        self._most = most
        self._groups: dict[tuple[str, str], DeadGroup] = {}
        self.count = 0
        self.others = 0
        """Those that are in no group, since there are so many already."""

    def add(self, job: dict[str, Any]) -> None:
        """A dead job, as ``list`` shows it."""
        self.count += 1
        func, reason, at_ms = job["func"], alike(job["reason"]), job["ended_at_ms"] or 0
        group = self._groups.get((func, reason))
        if group is None:
            if len(self._groups) >= self._most:
                self.others += 1
                return
            self._groups[func, reason] = DeadGroup(func, reason, 1, at_ms, at_ms, job["name"])
            return
        group.count += 1
        group.first_at_ms = min(group.first_at_ms, at_ms)
        if at_ms >= group.last_at_ms:
            group.last_at_ms, group.name = at_ms, job["name"]

    def by_count(self) -> list[dict[str, Any]]:
        """The largest first."""
        groups = sorted(self._groups.values(), key=lambda each: (-each.count, each.func, each.reason))
        return [asdict(each) for each in groups]


def alike(reason: str | None) -> str:
    """The first line that says something, its numbers left out."""
    lines = (reason or "").strip().splitlines()
    return _DIGITS.sub("#", lines[0].rstrip()) if lines else ""
