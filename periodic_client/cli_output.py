"""How ``periodic`` shows what the daemon said: JSON for programs, tables for a terminal, tab-separated lines otherwise
and where there are very many.

Data goes to standard output and nothing else does. Names and reasons come from strangers, so what a terminal could take
as a command is shown escaped.
"""

import base64
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import click

JobMap = dict[str, Any]

JOB_COLUMNS = ("func", "name", "state", "due_at_ms", "priority", "attempt", "failures", "crashes", "id", "reason")
FUNCTION_COLUMNS = (
    "func",
    "workers",
    "waiting",
    "running",
    "behind",
    "parked",
    "dead",
    "paused",
    "due_at_ms",
    "started",
    "lateness_p50_ms",
    "lateness_p99_ms",
    "lateness_max_ms",
)
WORKER_COLUMNS = ("connection", "client", "connected_at_ms", "silent_ms", "running", "credit", "functions")
LOCK_COLUMNS = ("lock", "capacity", "used", "holder_count", "parked", "rate")
HOLDER_COLUMNS = ("func", "name", "id", "run", "weight", "started_at_ms")
SCHEDULE_COLUMNS = ("schedule", "func", "when", "next_at_ms", "last_id", "paused")
DEAD_COLUMNS = ("count", "func", "reason", "first_at_ms", "last_at_ms", "name")
EVENT_COLUMNS = ("at_ms", "kind", "func", "name", "id", "run", "worker", "text")
TABLE_ROWS_MAX = 1000
"""More are not read on a terminal, and rich takes 2 ms and 14 KB for each."""
TIME = "at_ms"
"""How a key ends whose value is a point in time; any other ``..._ms`` is a duration."""


def show(data: str | bytes, nl: bool = True) -> None:
    """To the file that is there: left to choose, click would write UTF-8 where ASCII was asked for."""
    click.echo(data, file=sys.stdout, nl=nl)


def show_json(value: Any) -> None:
    show(json.dumps(value))


def job_as_json(job: JobMap) -> JobMap:
    """The job; if it has its workload, that as text under ``workload``, or, if it is none, as ``workload_base64``."""
    return bytes_as_json(job, "workload")


def bytes_as_json(values: dict[str, Any], key: str) -> dict[str, Any]:
    """The bytes under this key, if there are any, as text, or, if they are none, under the key and ``_base64``."""
    data = values.get(key)
    if data is None:
        return values
    shown = {each: value for each, value in values.items() if each != key}
    try:
        return shown | {key: data.decode()}
    except UnicodeDecodeError:
        return shown | {f"{key}_base64": base64.b64encode(data).decode()}


def show_map(values: dict[str, Any]) -> None:
    """A line for each key. Maps within are shown as JSON, points in time as local time."""
    show("\n".join(f"{_title(key)}: {_cell(key, value)}" for key, value in values.items()))


def show_error(error: dict[str, Any]) -> None:
    """One of a job's last failures."""
    show(f"error of attempt {error['attempt']}, {_cell('at_ms', error['at_ms'])}: {visible(error['text'])}")


def show_line(columns: Sequence[str], row: dict[str, Any]) -> None:
    """Of a table without end: nobody knows how wide its columns are to be."""
    show("\t".join(_cell(column, row.get(column)) for column in columns))


def show_table(columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    titles = [_title(column) for column in columns]
    cells = [[_cell(column, row.get(column)) for column in columns] for row in rows]
    if not sys.stdout.isatty() or len(rows) > TABLE_ROWS_MAX:
        show("\n".join("\t".join(line) for line in [titles, *cells]))
        return
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    table = Table(*(Column(title, overflow="fold") for title in titles), box=None, pad_edge=False)
    for line in cells:
        table.add_row(*map(Text, line))
    Console().print(table)


@contextmanager
def counting(total: int) -> Iterator[Callable[[int], None]]:
    """Shows on a terminal how much is done; to be told how many it are so far."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=total)
        yield lambda count: progress.update(task, completed=count)


def _title(key: str) -> str:
    """A time is shown as such, so its title has no unit."""
    return key.removesuffix("_" + TIME)


def _cell(key: str, value: Any) -> str:
    if value is None:
        return "-"
    if key.endswith(TIME):
        return local_time(value)
    if isinstance(value, dict | bool):
        return json.dumps(value)
    return visible(str(value))


def visible(text: str) -> str:
    """The text with what cannot be printed escaped."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def local_time(time_ms: int) -> str:
    try:
        return datetime.fromtimestamp(time_ms / 1000).astimezone().isoformat(" ", "seconds")
    except (ValueError, OverflowError, OSError):
        return f"{time_ms} ms"


class Bar:
    """How far a job is, on standard error, if that is a terminal."""

    def __init__(self) -> None:
        self._live: Any = None

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, done: int, total: int | None, note: str) -> None:
        if not sys.stderr.isatty():
            return
        if self._live is None:
            self._live = _new_bar()
            self._live.add_task("", note=note)
            self._live.start()
        (task,) = self._live.task_ids
        self._live.update(task, completed=done, total=total, note=note)

    @contextmanager
    def aside(self, is_needed: bool) -> Iterator[None]:
        """While something else is written, perhaps to the same terminal."""
        live = self._live if is_needed else None
        if live is not None:
            live.stop()
        yield
        if live is not None:
            live.start()

    def say(self, message: str) -> None:
        with self.aside(True):
            click.echo(message, err=True)


def _new_bar() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    note = TextColumn("{task.fields[note]}", markup=False)
    return Progress(BarColumn(), MofNCompleteColumn(), note, console=Console(stderr=True), transient=True)
