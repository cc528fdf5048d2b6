"""The statements of the SQLite store, read from ``sqlite.sql``: there each has a name and a sentence.

``SQL[name]`` is the text. Rows of ``{columns}`` have the order of Job's fields; ``job_of`` makes a Job of one.
"""

import json
import re
from dataclasses import fields
from importlib.resources import files
from typing import Any

from periodicd import retry
from periodicd.job import Job, State

_COLUMNS = [field.name for field in fields(Job)]
_RETRY, _STATE, _SUSPECT, _DATED, _HEADERS = map(_COLUMNS.index, ("retry", "state", "suspect", "dated", "headers"))
_HEAD = re.compile(r"^-- (\w+): .*\n", re.MULTILINE)


def _read() -> dict[str, str]:
    columns = ", ".join(_COLUMNS)
    text = files("periodicd.store").joinpath("sqlite.sql").read_text()
    _, *parts = _HEAD.split(text)
    statements = {}
    for name, statement in zip(parts[::2], parts[1::2], strict=True):
        shown = statement.strip().removesuffix(";").replace("{columns}", columns)
        statements[name] = shown.replace("{columns_without_workload}", columns.replace(" workload,", " NULL,"))
    return statements


SQL = _read()


def job_of(row: tuple[Any, ...]) -> Job:
    """A row of ``{columns}``."""
    job = Job(*row)
    job.retry = retry.from_text(row[_RETRY])
    job.state = State(row[_STATE])
    job.suspect, job.dated = bool(row[_SUSPECT]), bool(row[_DATED])
    if job.headers is not None:
        job.headers = json.loads(row[_HEADERS])
    return job
