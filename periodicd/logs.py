"""How log lines look, and how many there may be. What is logged is decided where it happens.

A line's message is a constant template with numbers; who and what it is about are fields of the line (``FIELDS``, given
with ``extra=``). Workloads, results and reasons never go into a log: they are the users' data, and the store has them.
Text that came from outside cannot break out of its line, whatever it holds.
"""

import json
import logging
import sys
from collections import Counter
from datetime import UTC, datetime
from typing import Literal, TextIO

from periodicd.peers import Peer
from periodicd.scheduler import Event

FIELDS = ("connection", "client", "func", "job", "run")
"""What a line may be about: a connection's number, the name its program gave itself, a job's func and name, a run's
number: never its handle, with which anybody could report it."""

LINES_PER_S = 10
"""Of one template."""

EVENTS = {
    "worker_lost": "the connection was lost with jobs running: %d",
    "lease_ran_out": "a lease of %d ms ran out",
    "dead": "the job is dead after %d runs, %d failures and %d crashes",
    "missed": "warnings that there was no room for: %d",
}


def about(peer: Peer) -> dict[str, object]:
    """The fields of a line about a connection."""
    return {"connection": peer.number, "client": peer.client}


def log_event(log: logging.Logger, event: Event) -> None:
    """The line for what the scheduler wants the operator to know."""
    fields = about(event.peer) if event.peer else {}
    extra = fields | {"func": event.func, "job": event.name, "run": event.run}
    log.warning(EVENTS[event.what], *event.numbers, extra=extra)


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


class LogHandler(logging.StreamHandler[TextIO]):
    """Writes lines to ``stream``, of one template LINES_PER_S in each second of the wall clock; debug lines all.

    A thousand bad connections must neither fill the disk nor hide the one line that matters. How many lines were held
    back is told, by ``tell_held_back`` or with the first line of a later second.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._second = 0
        self._counts: Counter[tuple[str, int, str]] = Counter()
        """Lines of this second by logger, level and template: constants of the program, so there are not many."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno > logging.DEBUG:
            self._turn_to(record.created)
            key = record.name, record.levelno, str(record.msg)
            self._counts[key] += 1
            if self._counts[key] > LINES_PER_S:
                return
        super().emit(record)

    def tell_held_back(self, now_s: float) -> None:
        """To be called each second or so: nothing else says it when no more lines come."""
        self.acquire()
        try:
            self._turn_to(now_s)
        finally:
            self.release()

    def close(self) -> None:
        self._turn_to(self._second + 1)
        super().close()

    def _turn_to(self, now_s: float) -> None:
        if int(now_s) == self._second:
            return
        counts, self._counts = self._counts, Counter()
        for (name, level, template), count in counts.items():
            if count > LINES_PER_S:
                text = "and %d more in that second: %s"
                record = logging.LogRecord(name, level, "", 0, text, (count - LINES_PER_S, template), None)
                record.created = self._second + 0.999
                super().emit(record)
        self._second = int(now_s)


def set_up(level: str, log_format: Literal["people", "json"]) -> LogHandler:
    """Log to standard error from now on, exceptions that nobody caught included."""
    handler = LogHandler(sys.stderr)
    handler.setFormatter(FORMATTERS[log_format]())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    log = logging.getLogger("periodicd")
    sys.excepthook = lambda *info: log.critical("a bug has ended the daemon", exc_info=info)
    return handler
