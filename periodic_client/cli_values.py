"""What can be written on the command line of ``periodic`` besides plain words: durations, times, headers, files.

Everything that is wrong here is the user's usage (exit code 2) and is found before the daemon is asked anything.
"""

import base64
import json
import os
import re
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, NamedTuple
from zoneinfo import TZPATH

import click

from periodic_client.outcomes import Rate
from periodic_client.texts import duration_ms, nearest
from periodic_client.wire import Limits

WORKLOAD_BYTES_MAX = Limits().message_bytes
"""No daemon accepts more, so more is not read."""

SIZE_MAX = 2**62
"""Beyond what a machine has, and within what its kernel takes."""

_NO_OFFSET = re.compile(r":?(UTC|GMT|([A-Za-z]{3,}|<[A-Za-z0-9+-]{3,}>)[+-]?0{1,2}(:00)*)?")
"""What stands for UTC in TZ without a file: a name and the offset 0, as POSIX has it, or nothing."""
_ZONE_FILE = b"TZif"
"""How a file with the rules of a zone begins; RFC 9636."""


class Duration(click.ParamType[int]):
    """``500ms``, ``5m``, ``1h30m``, ``2d``: milliseconds."""

    name = "duration"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            return duration_ms(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Unclear(Exception):
    """A local time that is not one point in time. The text says what to write instead."""


class Time(click.ParamType[int]):
    """ISO 8601; without a zone it is local time, if that is clear: milliseconds since 1970-01-01T00:00Z."""

    name = "time"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            given = datetime.fromisoformat(value)
            return round((given.timestamp() if given.tzinfo else _local(given)) * 1000)
        except Unclear as error:
            self.fail(f"{value!r} {error}", param, ctx)
        except (ValueError, OverflowError, OSError) as error:
            self.fail(f"{value!r} is not a time such as 2030-01-31T18:00 or 2030-01-31T17:00Z ({error})", param, ctx)


def _local(naive: datetime) -> float:
    """The point in time, in s, that the local clock calls so. Raises Unclear if it never does, or twice."""
    zone = os.environ.get("TZ", "")
    if not _is_known(zone):
        raise Unclear(
            f"has no zone, and TZ={zone} is not known here; write it with an offset, as in 2030-01-31T18:00+01:00"
        )
    # https://peps.python.org/pep-0495/: the two readings differ where the clock is put forward or back.
    one_s, other_s = (naive.replace(fold=fold).timestamp() for fold in (0, 1))
    if one_s != other_s:
        first, second = (datetime.fromtimestamp(each).astimezone().isoformat() for each in sorted((one_s, other_s)))
        turn = "there twice when the clock is put back" if one_s < other_s else "left out when the clock is put forward"
        raise Unclear(f"is {turn}; write {first} or {second}")
    return one_s


def _is_known(zone: str) -> bool:
    """Whether the C library knows the zone that TZ names; it would take UTC in its place and say nothing."""
    if time.timezone or time.daylight or _NO_OFFSET.fullmatch(zone):
        return True
    folders = [os.environ["TZDIR"]] if os.environ.get("TZDIR") else TZPATH
    for path in (Path(folder, zone.removeprefix(":")) for folder in folders):
        with suppress(OSError), path.open("rb") as file:
            if file.read(len(_ZONE_FILE)) == _ZONE_FILE:
                return True
    return False


class Header(click.ParamType[tuple[str, str]]):
    """``NAME=VALUE``; the value may be empty and may hold more of ``=``."""

    name = "header"

    def convert(
        self, value: str | tuple[str, str], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        name, equals, text = value.partition("=")
        if not name or not equals:
            self.fail(f"{value!r} is not a header such as content-type=image/jpeg", param, ctx)
        return name, text


class LockValue(click.ParamType[tuple[str, int]]):
    """``NAME`` or ``NAME=WEIGHT``. What follows the last ``=`` is a weight if it is all digits, else of the name."""

    name = "lock"

    def convert(
        self, value: str | tuple[str, int], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int]:
        if isinstance(value, tuple):
            return value
        name, equals, digits = value.rpartition("=")
        if not (equals and digits.isascii() and digits.isdigit()):
            name, digits = value, "1"
        if not name:
            self.fail(f"{value!r} is not a lock such as disk or disk=2", param, ctx)
        return name, int(digits)


class Size(click.ParamType[int]):
    """``64M``, ``2G``: bytes, in units of 1,024."""

    name = "size"
    units: ClassVar[dict[str, int]] = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        written = re.fullmatch(r"([1-9][0-9]{0,11})([KMGT]?)", value)
        if written is None or (size := int(written[1]) * self.units[written[2]]) > SIZE_MAX:
            self.fail(f"{value!r} is not a size such as 512M or 2G", param, ctx)
        return size


class RateValue(click.ParamType[Rate]):
    """``10/1s``: so many runs in so long."""

    name = "rate"

    def convert(self, value: str | Rate, param: click.Parameter | None, ctx: click.Context | None) -> Rate:
        if isinstance(value, Rate):
            return value
        count, slash, per = value.partition("/")
        if not slash or not (count.isascii() and count.isdigit()):
            self.fail(f"{value!r} is not a rate such as 10/1s", param, ctx)
        try:
            return Rate(int(count), duration_ms(per))
        except ValueError as error:
            self.fail(f"{value!r} is not a rate such as 10/1s: {error}", param, ctx)


class Where(click.ParamType[tuple[str, str | int]]):
    """``KEY=VALUE``: the protocol's key and what it is to be."""

    name = "where"
    keys: ClassVar[dict[str, click.ParamType[Any]]] = {
        "func": click.STRING, "state": click.STRING, "prefix": click.STRING, "reason": click.STRING,
        "due_from": Time(), "due_before": Time(), "group_id": click.IntRange(min=1),
    }  # fmt: skip

    def convert(
        self, value: str | tuple[str, str | int], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str | int]:
        if isinstance(value, tuple):
            return value
        key, equals, text = value.partition("=")
        if key not in self.keys:
            self.fail(f"{key!r} is not a key of jobs{nearest(key, self.keys)}", param, ctx)
        if not equals or not text:
            self.fail(f"{value!r} does not say what {key} is to be, as in {key}=VALUE", param, ctx)
        kind = self.keys[key]
        return key + ("_at_ms" if isinstance(kind, Time) else ""), kind.convert(text, param, ctx)


class Workload(click.ParamType[bytes]):
    """The text itself, ``@FILE`` for what is in a file, ``-`` for standard input."""

    name = "workload"

    def convert(self, value: str | bytes, param: click.Parameter | None, ctx: click.Context | None) -> bytes:
        if isinstance(value, bytes):
            return value
        try:
            if value == "-" and sys.stdin is None:
                self.fail("standard input is closed", param, ctx)
            if value == "-":
                return self._read(sys.stdin.buffer, "standard input", param, ctx)
            if value.startswith("@"):
                with Path(value[1:]).open("rb") as file:
                    return self._read(file, value[1:], param, ctx)
        except OSError as error:
            self.fail(f"{value.removeprefix('@')} cannot be read: {error.strerror or error}", param, ctx)
        # What is not UTF-8 on the command line comes as surrogates, and goes out as the bytes it was.
        return value.encode("utf-8", "surrogateescape")

    def _read(self, file: BinaryIO, what: str, param: click.Parameter | None, ctx: click.Context | None) -> bytes:
        data = file.read(WORKLOAD_BYTES_MAX + 1)
        if len(data) > WORKLOAD_BYTES_MAX:
            self.fail(f"{what} has more than {WORKLOAD_BYTES_MAX} bytes", param, ctx)
        return data


class JobLine(NamedTuple):
    number: int
    """Of the line, for people."""
    job: dict[str, Any]
    """By the keys of the protocol."""


class JobLines(click.ParamType[list[JobLine]]):
    """A file, or ``-`` for standard input, with a job in JSON on each line.

    As ``get --json`` shows it, a workload is under ``workload``, or, if it is not UTF-8, under ``workload_base64``.
    """

    name = "jobs"

    def convert(
        self, value: str | Sequence[JobLine], param: click.Parameter | None, ctx: click.Context | None
    ) -> list[JobLine]:
        if not isinstance(value, str):
            return list(value)
        text = Workload().convert(value if value == "-" else f"@{value}", param, ctx)
        lines = enumerate(text.splitlines(), 1)
        return [JobLine(number, self._job(number, line, param, ctx)) for number, line in lines if line.strip()]

    def _job(
        self, number: int, line: bytes, param: click.Parameter | None, ctx: click.Context | None
    ) -> dict[str, Any]:
        try:
            job = json.loads(line)
            if "workload_base64" in job:
                job["workload"] = base64.b64decode(job.pop("workload_base64"), validate=True)
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            self.fail(f"line {number} is not a job in JSON: {error}", param, ctx)
        if not isinstance(job, dict):
            self.fail(f'line {number} is not a job in JSON, as {{"func": "resize", "name": "a.jpg"}}', param, ctx)
        return job
