"""What a command that lives on is told of a job, and what it answers: a line each way, in one of two framings.

Bytes and values only. docs/command-workers.md shows both.
"""

import base64
import json
from typing import Any, NamedTuple, Protocol

from periodic_client.commands.rules import FramingName
from periodic_client.job import Job
from periodic_client.outcomes import Done, Failed, Later, Outcome, WrongValue


class BadAnswer(Exception):
    """A line that answers nothing that was asked. The text says what is wrong with it."""


class Chunk(NamedTuple):
    """A part of what the run makes, for who watches."""

    data: bytes


class Framing(Protocol):
    def request(self, number: int, job: Job, gives_name: bool, /) -> bytes:
        """The line of a job, with its end. Raises WrongValue for what cannot be in one."""

    def answer(self, line: bytes, number: int, later_ms: int, /) -> Chunk | Outcome:
        """What a line says of the job with this number. Raises BadAnswer."""


class _Lines:
    """``7 name``, and ``7 WORKDATA chunk``, ``7 WORKDONE result``, ``7 WORKFAIL reason`` or ``7 result``."""

    def request(self, number: int, job: Job, gives_name: bool, /) -> bytes:
        payload = job.name.encode() if gives_name else job.workload
        if b"\n" in payload:
            what = "name" if gives_name else "workload"
            raise WrongValue(f"its {what} has more than one line, and its command is given one line a job (--pipe)")
        return b"%d %s\n" % (number, payload)

    def answer(self, line: bytes, number: int, later_ms: int, /) -> Chunk | Outcome:
        begin, _, rest = line.partition(b" ")
        if begin != b"%d" % number:
            raise BadAnswer(f"it answered {_shown(line)} to the line {number}")
        word, _, data = rest.partition(b" ")
        match word:
            case b"WORKDATA":
                return Chunk(data)
            case b"WORKDONE":
                return Done(data)
            case b"WORKFAIL":
                return Failed(data.decode(errors="backslashreplace") or "WORKFAIL")
        return Done(rest)


class _Json:
    """Objects: what ``perform`` has, and ``{"id": 7, "outcome": "done", "data": "..."}``."""

    def request(self, number: int, job: Job, _: bool, /) -> bytes:
        said: dict[str, Any] = {"id": number, "func": job.func, "name": job.name}
        try:
            said["workload"] = job.workload.decode()
        except UnicodeDecodeError:
            said["workload_base64"] = base64.b64encode(job.workload).decode()
        said |= {"headers": job.headers, "handle": job.handle, "run": job.run}
        said |= {"attempt": job.attempt, "failures": job.failures, "due_at_ms": job.due_at_ms}
        return json.dumps(said).encode() + b"\n"

    def answer(self, line: bytes, number: int, later_ms: int, /) -> Chunk | Outcome:
        try:
            said = json.loads(line)
            if said["id"] != number:
                raise BadAnswer(f"it answered {_shown(line)} to the line {number}")
            data = _data_of(said)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise BadAnswer(f'it answered {_shown(line)}, which is no object such as {{"id": {number}}}') from None
        match said:
            case {"outcome": "done"}:
                return Done(data or b"")
            case {"outcome": "failed", "reason": str(reason)}:
                return Failed(reason, final=said.get("final") is True)
            case {"outcome": "later"}:
                delay_ms = said.get("delay_ms", later_ms)
                if type(delay_ms) is int and delay_ms >= 0:
                    return Later(delay_ms)
            case _ if "outcome" not in said and data is not None:
                return Chunk(data)
        raise BadAnswer(f"it answered {_shown(line)}, which says neither how the job ended nor a part of its result")


def _data_of(said: dict[str, Any]) -> bytes | None:
    if "data_base64" in said:
        return base64.b64decode(said["data_base64"], validate=True)
    data = said.get("data")
    return None if data is None else bytes(data.encode())


def _shown(line: bytes) -> str:
    return ascii(line[:80].decode(errors="backslashreplace")) + "..." * (len(line) > 80)


FRAMINGS: dict[FramingName, Framing] = {"lines": _Lines(), "json": _Json()}
