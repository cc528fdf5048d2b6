"""The statements of the SQLite store, read from ``sqlite.sql``: there each has a name and a sentence.

``SQL[name]`` is the text. The columns are Job's fields, in their order, and are listed nowhere else: ``row_of`` makes a
row of a Job, ``job_of`` a Job of a row. Both know the fields that SQLite has no type for, and no other.
"""

import json
import re
import sqlite3
from importlib.resources import files
from operator import attrgetter
from typing import Any

import msgpack
from msgspec.structs import astuple

from periodicd import retry
from periodicd.calendar import Recurrence
from periodicd.function import Function, Rate
from periodicd.job import JOB_FIELDS, Broadcast, Error, Job, State
from periodicd.lock import Lock
from periodicd.schedule import Schedule

INLINE_BYTES = 4096
"""Workloads up to this size live in the job's row; a page of SQLite is as large."""

# sqlite3 asks a value of any type but int, float and str what it is to be instead: if the type has no adapter, by an
# attribute that is not there, which takes longer than all else that is done with the value.
sqlite3.register_adapter(bytes, bytes)
sqlite3.register_adapter(type(None), {None: None}.get)

_COLUMNS = JOB_FIELDS
_NEW = _COLUMNS[: _COLUMNS.index("attempt")]
"""What a submit decides. The others begin as the schema says."""
_SELDOM = ("headers", "dated", "result_ms", "run_max_ms", "locks", "group_id", "expires_at_ms", "broadcast")
"""Of these what few submits say. A job without any is plain, and put by a statement that leaves them to the schema: so
what other jobs can have costs it nothing."""
_USUAL = tuple(name for name in _NEW if name not in _SELDOM)
_RETRY, _HEADERS, _DATED, _STATE, _SUSPECT, _ERRORS, _LOCKS, _BROADCAST = map(
    _COLUMNS.index,
    ("retry", "headers", "dated", "state", "suspect", "errors", "locks", "broadcast"),
)
_USUAL_WORKLOAD, _USUAL_BYTES, _USUAL_RETRY, _USUAL_STATE = map(
    _USUAL.index, ("workload", "workload_bytes", "retry", "state")
)
_DEFAULT_RETRY = retry.to_text(retry.DEFAULT)
_usual_values, _seldom_values = attrgetter(*_USUAL), attrgetter(*_SELDOM)
_AS_IN_THE_SCHEMA = _seldom_values(Job(0, "", "", 0, 0))
NEW_VALUES, PLAIN_VALUES = ", ".join("?" * len(_NEW)), ", ".join("?" * len(_USUAL))
_HEAD = re.compile(r"^-- (\w+): .*\n", re.MULTILINE)


def _read() -> dict[str, str]:
    columns = ", ".join(_COLUMNS)
    lists = {
        "{columns}": columns,
        "{columns_without_workload}": columns.replace(" workload,", " NULL,"),
        "{new_columns}": ", ".join(_USUAL + _SELDOM),
        "{new_values}": NEW_VALUES,
        "{plain_columns}": ", ".join(_USUAL),
        "{plain_values}": PLAIN_VALUES,
    }
    text = files("periodicd.store").joinpath("sqlite.sql").read_text()
    for mark, names in lists.items():
        text = text.replace(mark, names)
    _, *parts = _HEAD.split(text)
    return {name: statement.strip().removesuffix(";") for name, statement in zip(parts[::2], parts[1::2], strict=True)}


SQL = _read()


def is_plain(job: Job) -> bool:
    """Whether the statement ``insert_plain`` will do for it."""
    return _seldom_values(job) == _AS_IN_THE_SCHEMA


def row_of(job: Job, state: State, plain: bool) -> list[Any]:
    """The parameters of ``insert_plain`` or ``insert``. A large workload is left out: it is kept apart."""
    workload = job.workload
    assert workload is not None
    row = list(_usual_values(job))
    row[_USUAL_STATE] = int(state)
    row[_USUAL_RETRY] = _DEFAULT_RETRY if job.retry is retry.DEFAULT else retry.to_text(job.retry)
    row[_USUAL_BYTES] = len(workload)
    if len(workload) > INLINE_BYTES:
        row[_USUAL_WORKLOAD] = None
    if not plain:
        texts = [None if value is None else json.dumps(value) for value in (job.headers, job.locks, job.broadcast)]
        headers, locks, broadcast = texts
        row += [headers, int(job.dated), job.result_ms, job.run_max_ms, locks, job.group_id, job.expires_at_ms]
        row.append(broadcast)
    return row


def text_of(errors: tuple[Error, ...]) -> str | None:
    """As ``job_of`` reads them."""
    return json.dumps(errors, ensure_ascii=False) if errors else None


def job_of(row: tuple[Any, ...]) -> Job:
    """A row of ``{columns}``."""
    values = list(row)
    values[_RETRY] = retry.from_text(row[_RETRY])
    values[_STATE] = State(row[_STATE])
    values[_SUSPECT], values[_DATED] = bool(row[_SUSPECT]), bool(row[_DATED])
    values[_ERRORS] = () if row[_ERRORS] is None else tuple(Error(*each) for each in json.loads(row[_ERRORS]))
    if row[_HEADERS] is not None:
        values[_HEADERS] = json.loads(row[_HEADERS])
    if row[_LOCKS] is not None:
        values[_LOCKS] = json.loads(row[_LOCKS])
    if row[_BROADCAST] is not None:
        values[_BROADCAST] = Broadcast(*json.loads(row[_BROADCAST]))
    return Job(*values)


def row_of_function(function: Function) -> list[Any]:
    """What the table ``functions`` has of it, behind its name."""
    rate, rule = function.rate, function.retry
    return [
        function.paused,
        function.running_max,
        rate and rate.count,
        rate and rate.per_ms,
        function.queue_max,
        function.lease_ms,
        rule and json.dumps(rule.as_map()),
        function.result_ms,
        function.full_at_ns,
    ]


def function_of(row: tuple[Any, ...]) -> Function:
    """The inverse of ``row_of_function``."""
    paused, running_max, count, per_ms, queue_max, lease_ms, rule, result_ms, full_at_ns = row
    return Function(
        bool(paused),
        running_max,
        None if count is None else Rate(count, per_ms),
        queue_max,
        lease_ms,
        None if rule is None else retry.Retry(**json.loads(rule)),
        result_ms,
        full_at_ns,
    )


def row_of_lock(lock: Lock) -> list[Any]:
    """What the table ``locks`` has of it, behind its name."""
    rate = lock.rate
    return [lock.capacity, rate and rate.count, rate and rate.per_ms, lock.full_at_ns]


def lock_of(row: tuple[Any, ...]) -> Lock:
    """The inverse of ``row_of_lock``."""
    capacity, count, per_ms, full_at_ns = row
    return Lock(capacity, None if count is None else Rate(count, per_ms), full_at_ns)


def row_of_schedule(schedule: Schedule) -> list[Any]:
    """What the table ``schedules`` has of it, behind its name."""
    settings = [schedule.jitter_ms, schedule.missed, schedule.overlap]
    past = [schedule.paused, schedule.fired_at_ms, schedule.last_id]
    return [*astuple(schedule.recurrence), msgpack.packb(schedule.job), *settings, *past]


def schedule_of(row: tuple[Any, ...]) -> Schedule:
    """The inverse of ``row_of_schedule``."""
    job, jitter_ms, missed, overlap, paused, fired_at_ms, last_id = row[5:]
    said = msgpack.unpackb(job)
    return Schedule(Recurrence(*row[:5]), said, jitter_ms, missed, overlap, bool(paused), fired_at_ms, last_id)
