"""How log lines look, and how many there may be. What is logged is decided where it happens.

A line's message is a constant template with numbers; who and what it is about are fields of the line (``FIELDS``, given
with ``extra=``). Workloads, results and reasons never go into a log: they are the users' data, and the store has them.
Text that came from outside cannot break out of its line, whatever it holds.
"""

import json
import logging
import os
import sys
import time
from collections import Counter
from datetime import UTC, datetime
from typing import Literal, Protocol

from periodicd.line_writer import LineWriter
from periodicd.scheduler import events
from periodicd.scheduler.peers import Peer

FIELDS = ("connection", "client", "func", "job", "run")
"""What a line may be about: a connection's number, the name its program gave itself, a job's func and name, a run's
number: never its handle, with which anybody could report it."""

LINES_MAX = 10
"""Of one template in WINDOW_S seconds."""
WINDOW_S = 5


def about(peer: Peer) -> dict[str, object]:
    """The fields of a line about a connection."""
    return {"connection": peer.number, "client": peer.client}


def log_event(log: logging.Logger, event: events.Event) -> None:
    """The line for what the rules want the operator to know."""
    match event:
        case events.WorkerLost(peer, runs):
            log.warning("the connection was lost with jobs running: %d", runs, extra=about(peer))
        case events.LeaseRanOut(peer, func, name, run, lease_ms):
            fields = about(peer) if peer else {}
            extra = fields | {"func": func, "job": name, "run": run}
            log.warning("a lease of %d ms ran out", lease_ms, extra=extra)
        case events.Died(func, name, attempt, failures, crashes):
            template = "the job is dead after %d runs, %d failures and %d crashes"
            log.warning(template, attempt, failures, crashes, extra={"func": func, "job": name})
        case events.SteppedBack(by_ms):
            log.warning(
                "the wall clock was stepped back by %d ms; waits end as if it had not been, dates do not", by_ms
            )
        case events.UnknownZone(schedule, zone):
            template = (
                "the schedule %s does not fire: this machine knows no time zone %s; update tzdata, or set it anew"
            )
            log.warning(template, schedule, zone)
        case events.Missed(number):
            log.warning("warnings that there was no room for: %d", number)


# -- the two formats ---------------------------------------------------------------------------------------------------


def _fields(record: logging.LogRecord) -> dict[str, object]:
    """The record's fields that say something."""
    given = {key: getattr(record, key, None) for key in FIELDS}
    return {key: value for key, value in given.items() if value not in (None, "")}


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _plain(text: str) -> str:
    """As it is, or with what would break the line escaped."""
    return text if text.isprintable() else json.dumps(text)[1:-1]


class PeopleFormatter(logging.Formatter):
    """``2026-01-31T08:00:00.123Z WARNING periodicd.server: the message connection=7 func=resize``"""

    def format(self, record: logging.LogRecord) -> str:
        parts = [_time(record), record.levelname, f"{record.name}:", _plain(record.getMessage())]
        for key, value in _fields(record).items():
            text = str(value)
            simple = text.isprintable() and not set(text) & set(' "=\\')
            parts.append(f"{key}={text if simple else json.dumps(text)}")
        line = " ".join(parts)
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonFormatter(logging.Formatter):
    """One object a line, in ASCII: time, level, logger, message, the fields, and with a bug its exception."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= _fields(record)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


FORMATTERS = {"people": PeopleFormatter, "json": JsonFormatter}


# -- how many ----------------------------------------------------------------------------------------------------------


class Writer(Protocol):
    """Takes lines, never waits, and says whether there was room."""

    def write(self, line: str) -> bool: ...
    def flush(self) -> None: ...


class LogHandler(logging.Handler):
    """Gives lines to ``writer``, of one template LINES_MAX in each WINDOW_S seconds of the wall clock; debug lines all.

    A thousand bad connections must neither fill the disk nor hide the one line that matters. How many were held back is
    told in one line, by ``tell`` or with the first line of a later window; while a template goes on like that, nothing
    else of it is written. How many lines the writer had no room for is told as soon as it has.
    """

    def __init__(self, writer: Writer) -> None:
        super().__init__()
        self._writer = writer
        self._window = 0
        self._counts: Counter[tuple[str, int, str]] = Counter()
        """Lines of this window by logger, level and template: constants of the program, so there are not many."""
        self._flood: frozenset[tuple[str, int, str]] = frozenset()
        """Of which there were too many in the window before."""
        self._lost = 0

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno > logging.DEBUG:
            self._turn_to(record.created)
            key = record.name, record.levelno, str(record.msg)
            self._counts[key] += 1
            if self._counts[key] > self._allowed(key):
                return
        self._put(record)

    def tell(self, now_s: float) -> None:
        """To be called each second or so: nothing else says what was held back or lost when no more lines come."""
        self.acquire()
        try:
            self._turn_to(now_s)
            self._tell_lost()
        finally:
            self.release()

    def flush(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        self._turn_to((self._window + 1) * WINDOW_S)
        self._tell_lost()
        self.flush()
        super().close()

    def _allowed(self, key: tuple[str, int, str]) -> int:
        return 0 if key in self._flood else LINES_MAX

    def _turn_to(self, now_s: float) -> None:
        window = int(now_s) // WINDOW_S
        if window == self._window:
            return
        counts, self._counts = self._counts, Counter()
        held_back = {key: count - self._allowed(key) for key, count in counts.items() if count > self._allowed(key)}
        for (name, level, template), count in held_back.items():
            text = "and %d more within %d s: %s"
            self._put(_record(name, level, (self._window + 1) * WINDOW_S - 0.001, text, count, WINDOW_S, template))
        is_next = window == self._window + 1
        self._flood = frozenset(key for key, count in counts.items() if is_next and count > LINES_MAX)
        self._window = window

    def _put(self, record: logging.LogRecord) -> None:
        self._tell_lost()
        if not self._writer.write(self.format(record) + "\n"):
            self._lost += 1

    def _tell_lost(self) -> None:
        if self._lost:
            text = "log lines lost, since nobody took them: %d"
            record = _record("periodicd.logs", logging.WARNING, time.time(), text, self._lost)
            if self._writer.write(self.format(record) + "\n"):
                self._lost = 0


def _record(name: str, level: int, at_s: float, template: str, *values: object) -> logging.LogRecord:
    record = logging.LogRecord(name, level, "", 0, template, values, None)
    record.created = at_s
    return record


def set_up(level: str, log_format: Literal["people", "json"]) -> LogHandler:
    """Log to standard error from now on, exceptions that nobody caught included."""
    # Started without a standard error: another file may have its number.
    fd = sys.stderr.fileno() if sys.stderr else os.open(os.devnull, os.O_WRONLY)
    handler = LogHandler(LineWriter(fd))
    handler.setFormatter(FORMATTERS[log_format]())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    log = logging.getLogger("periodicd")
    sys.excepthook = lambda *info: log.critical("a bug has ended the daemon", exc_info=info)
    return handler
