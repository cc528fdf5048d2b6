"""Counts of one job's work against the limits that the repository keeps. Numbers and a file; counts nothing itself.

A count that has fallen is a finding too: as long as its limit stays where it was, all that was gained could be lost
again and nobody would be told. To lower it costs one command, and the commit then shows what became cheaper.
"""

import platform
import sqlite3
import tomllib
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

Counts = Mapping[str, float]
"""Of one job: what is counted, and how many of it."""

LIMITS = Path(__file__).parent / "limits.toml"
ALLOWED = 0.05
ROUNDED = 0.001
"""What the file leaves out of a number."""
REMAKE = "make guard"
_HEAD = f"""\
# What one job may cost, counted: each kind of load, what is counted, how many for one job.
# Remade by `{REMAKE}`; the commit that changes a line says why.
"""


class Finding(NamedTuple):
    """A count that is no longer what the limits say."""

    load: str
    what: str
    limit: float
    found: float

    @property
    def is_dearer(self) -> bool:
        return self.found > self.limit

    def __str__(self) -> str:
        percent = f"{(self.found / self.limit - 1) * 100:+.1f} %" if self.limit else "new"
        return f"{self.load}: {self.what} a job were {self.limit:.3f}, are {self.found:.3f} ({percent})"


def compare(limits: Mapping[str, Counts], counted: Mapping[str, Counts]) -> list[Finding]:
    """What has become dearer or cheaper by more than the allowed, the worst first. A count without a limit is one too.

    Limits of what was not counted are left alone: the compiled build makes no calls that can be counted.
    """
    findings = [
        Finding(load, what, limit, count)
        for load, counts in counted.items()
        for what, count in counts.items()
        if abs(count - (limit := limits.get(load, {}).get(what, 0.0))) > limit * ALLOWED + ROUNDED
    ]
    return sorted(findings, key=lambda each: each.found / each.limit if each.limit else float("inf"), reverse=True)


def explain(findings: Sequence[Finding], made_with: Mapping[str, str]) -> str:
    """For whoever broke it: what changed, and what to do."""
    lines = [str(finding) for finding in findings]
    if any(finding.is_dearer for finding in findings):
        lines.append(f"A job became dearer. If it must be so: {REMAKE}, and the commit says why.")
    if any(not finding.is_dearer for finding in findings):
        lines.append(f"A job became cheaper. Lower the limits, so that it stays so: {REMAKE}")
    changed = [f"{name} {was}, now {now}" for name, now in versions().items() if (was := made_with.get(name)) != now]
    if changed:
        lines.append(f"Not all of it need be our doing: the limits were made with {'; '.join(changed)}.")
    return "\n".join(lines)


def versions() -> dict[str, str]:
    """Of what else decides over the counts."""
    return {
        "python": ".".join(platform.python_version_tuple()[:2]),
        "sqlite": sqlite3.sqlite_version,
        "trio": version("trio"),
        "msgpack": version("msgpack"),
        "msgspec": version("msgspec"),
    }


def read() -> tuple[dict[str, Counts], dict[str, str]]:
    """The limits, and with which versions they were made."""
    limits = tomllib.loads(LIMITS.read_text())
    return limits, limits.pop("made_with")


def write(counted: Mapping[str, Counts]) -> None:
    tables = {"made_with": {name: f'"{value}"' for name, value in versions().items()}} | {
        load: {what: f"{round(count, 3)}" for what, count in counts.items()} for load, counts in counted.items()
    }
    text = "".join(
        f"\n[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in table.items())
        for name, table in tables.items()
    )
    LIMITS.write_text(_HEAD + text)
