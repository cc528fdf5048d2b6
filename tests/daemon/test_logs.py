"""What the log says and what it never says: the real formatters and handler, and what a real daemon writes."""

import fcntl
import json
import logging
import os
import re
import resource
import socket
import subprocess
import sys
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import msgpack
import pytest

from periodicd.line_writer import ROOM_LINES
from periodicd.logs import LINES_MAX, WINDOW_S, JsonFormatter, LogHandler, PeopleFormatter
from tests.daemon.service import Service
from tests.daemon.test_wire import Raw

NOON_S = 1_767_268_800.25


def record(template: str = "closed: %s", *values: object, at_s: float = NOON_S, **fields: object) -> logging.LogRecord:
    made = logging.LogRecord("periodicd.connection", logging.WARNING, "", 0, template, values or ("why",), None)
    made.created = at_s
    made.__dict__.update(fields)
    return made


# -- how a line looks --------------------------------------------------------------------------------------------------


def test_a_line_for_people() -> None:
    line = PeopleFormatter().format(record(connection=7, client="", func="resize", job="a b.jpg", run=None))
    assert line == (
        '2026-01-01T12:00:00.250Z WARNING periodicd.connection: closed: why connection=7 func=resize job="a b.jpg"'
    )


def test_a_line_for_machines() -> None:
    line = JsonFormatter().format(record(connection=7, client="ä", func="resize", job="a", run=12, other="x"))
    assert json.loads(line) == {
        "time": "2026-01-01T12:00:00.250Z",
        "level": "warning",
        "logger": "periodicd.connection",
        "message": "closed: why",
        "connection": 7,
        "client": "ä",
        "func": "resize",
        "job": "a",
        "run": 12,
    }


EVIL = 'x\n2026-01-01T12:00:00.000Z CRITICAL periodicd: all is lost\x1b[31m\u2028" connection=1 \udcff'


def test_nobody_outside_can_forge_a_line() -> None:
    made = record("closed: %s", EVIL, client=EVIL, job='a" b')
    people = PeopleFormatter().format(made)
    assert len(people.splitlines()) == 1
    assert people.isprintable()
    assert re.findall(r" (\w+)=\"", people) == ["client", "job"]
    assert len(JsonFormatter().format(made).splitlines()) == 1
    assert json.loads(JsonFormatter().format(made))["client"] == EVIL


def test_a_bug_keeps_its_traceback() -> None:
    try:
        raise KeyError("gone")
    except KeyError:
        made = record("a bug: %s")
        made.exc_info = sys.exc_info()
    assert PeopleFormatter().format(made).endswith("\nKeyError: 'gone'")
    line = JsonFormatter().format(made)
    assert "\n" not in line
    assert json.loads(line)["exception"].endswith("\nKeyError: 'gone'")


# -- how many lines there may be ---------------------------------------------------------------------------------------


class Written:
    """A handler and the lines that it let through. ``room``: how many more lines there is room for."""

    def __init__(self) -> None:
        self.room = 10_000
        self._lines: list[str] = []
        self.handler = LogHandler(self)
        self.handler.setFormatter(JsonFormatter())

    def write(self, line: str) -> bool:
        self.room -= 1
        if self.room >= 0:
            self._lines.append(line)
        return self.room >= 0

    def flush(self) -> None:
        pass

    def log(self, *records: logging.LogRecord) -> None:
        for each in records:
            self.handler.handle(each)

    def take(self) -> list[str]:
        """The messages since they were last taken."""
        lines, self._lines = self._lines, []
        assert all(line.endswith("\n") for line in lines)
        return [json.loads(line)["message"] for line in lines]


def test_what_is_repeated_too_often_is_counted_instead() -> None:
    written = Written()
    written.log(*(record("closed: %s", number, connection=number) for number in range(1_000)))
    assert written.take() == [f"closed: {number}" for number in range(LINES_MAX)]
    written.log(record("stopped%s", ""))
    assert written.take() == ["stopped"], "other lines are not held back"
    written.log(record("closed: %s", "next", at_s=NOON_S + 2 * WINDOW_S))
    assert written.take() == ["and 990 more within 5 s: closed: %s", "closed: next"]


def test_what_was_held_back_is_told_though_no_more_lines_come() -> None:
    written = Written()
    written.log(*(record() for _ in range(25)))
    assert len(written.take()) == LINES_MAX
    written.handler.tell(NOON_S + WINDOW_S - 1)
    assert written.take() == [], "the time is not over"
    written.handler.tell(NOON_S + WINDOW_S)
    assert written.take() == ["and 15 more within 5 s: closed: %s"]
    written.handler.tell(NOON_S + 2 * WINDOW_S)
    assert written.take() == []
    written.log(*(record(at_s=NOON_S + 3 * WINDOW_S) for _ in range(12)))
    written.handler.close()
    assert written.take()[-1] == "and 2 more within 5 s: closed: %s"


def test_of_a_flood_only_its_count_is_written_until_it_is_over() -> None:
    written = Written()
    for second in range(10 * WINDOW_S):
        written.log(*(record(at_s=NOON_S + second) for _ in range(90)))
    # At the start of each window but the first what was held back in the one before is told.
    counts = ["and 440 more within 5 s: closed: %s", *["and 450 more within 5 s: closed: %s"] * 8]
    assert written.take() == ["closed: why"] * LINES_MAX + counts
    for window in (11, 12):
        written.log(*(record(at_s=NOON_S + window * WINDOW_S) for _ in range(3)))
    assert written.take() == ["and 450 more within 5 s: closed: %s", *["closed: why"] * 6]


def test_ten_in_five_seconds_may_go_on_for_ever() -> None:
    written = Written()
    for window in range(50):
        written.log(*(record(at_s=NOON_S + window * WINDOW_S) for _ in range(LINES_MAX)))
    assert written.take() == ["closed: why"] * 500


def test_lines_that_there_was_no_room_for_are_counted_and_told_once_there_is() -> None:
    written = Written()
    written.room = 2
    written.log(*(record(f"line {number}%s", "") for number in range(5)))
    assert written.take() == ["line 0", "line 1"]
    written.room = 1
    written.handler.tell(NOON_S)
    assert written.take() == ["log lines lost, since nobody took them: 3"]
    written.room = 9
    written.log(record("line 5%s", ""))
    assert written.take() == ["line 5"]


def test_debug_lines_are_all_wanted() -> None:
    written = Written()
    for _ in range(100):
        made = record()
        made.levelno = logging.DEBUG
        written.log(made)
    assert len(written.take()) == 100


# -- the daemon --------------------------------------------------------------------------------------------------------

SECRET = b"my-grandmother's-maiden-name"


class Connection(Raw):
    def __init__(self, service: Service) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(20)
        self.socket.connect(service.url.removeprefix("unix://"))
        self._unpacker = msgpack.Unpacker()

    def next_run(self) -> int:
        """The msgid of the next ``perform``."""
        kind, msgid, method, _ = self.receive()
        assert (kind, method) == (0, "perform")
        return int(msgid)


def submit(raw: Connection, name: str, **job: Any) -> None:
    raw.ask("submit", {"func": "f", "name": name, "workload": SECRET, **job})


def live(service: Service) -> None:
    """All that can happen to a job, with the secret wherever a peer can put it."""
    worker, client, half = Connection(service), Connection(service), Connection(service)
    worker.ask("hello", {"client": "a worker\nof mine"})
    worker.ask("subscribe", "f")
    for name, error, result in (
        ("done", None, SECRET),
        ("failed", SECRET.decode(), None),
        ("unreadable", None, {"outcome": SECRET.decode()}),
        ("dead", None, {"outcome": "failed", "reason": SECRET.decode(), "final": True}),
    ):
        submit(client, name, retry={"limit": 1, "delay_ms": 3_600_000})
        worker.send([1, worker.next_run(), error, result])
        if name == "unreadable":
            assert worker.receive()[2][1] == "refused"
    submit(client, "expired", lease_ms=1_000)
    msgid = worker.next_run()
    while client.ask("get", "f", "expired")["job"]["failures"] == 0:
        pass
    client.ask("remove", "f", "expired")
    assert worker.receive()[2][1] == "lost"
    worker.send([1, msgid, None, None])
    submit(client, "crashed")
    worker.next_run()
    worker.socket.close()
    while client.ask("get", "f", "crashed")["job"]["state"] == "running":
        pass
    half.socket.sendall(msgpack.packb([0, 1, "submit", [SECRET]])[:-5])
    half.socket.close()
    while "in the middle of a message" not in service.log:
        client.ask("ping")
    client.refusal("submit", {"func": "f", "name": "bad", SECRET.decode(): SECRET})
    client.send([SECRET, SECRET])
    assert client.ends_with().startswith("BAD_MESSAGE")
    client.socket.close()


@pytest.mark.parametrize("log_format", ["people", "json"])
def test_the_log_has_every_happening_and_no_payload(tmp_path: Path, log_format: str) -> None:
    with Service(tmp_path, "--log-level", "debug", "--log-format", log_format) as service:
        live(service)
        assert service.stop() == 0
        log = service.log
    for word in (SECRET.decode(), "grandmother", "maiden"):
        assert word not in log
    for happening in (
        "listening on unix://", "a lease of 1000 ms ran out", "the job is dead after 1 runs, 1 failures and 0 crashes",
        "the connection was lost with jobs running: 1", "closed: BAD_MESSAGE", "closed in the middle of a message",
        "received SIGTERM", "stopped",
    ):  # fmt: skip
        assert happening in log, happening
    stored = b"".join(path.read_bytes() for path in tmp_path.glob("periodic.db*"))
    assert SECRET in stored, "it was there to be told"


def test_lines_for_machines_say_whom_and_what_they_are_about(tmp_path: Path) -> None:
    with Service(tmp_path, "--log-format", "json", "--log-level", "debug") as service:
        live(service)
        service.stop()
        lines = [json.loads(line) for line in service.log.splitlines()]
    by_message = {line["message"]: line for line in lines}
    for line in lines:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
        if line["logger"] == "periodicd.connection" or "connect" in line["message"]:
            assert isinstance(line["connection"], int), line
    expired = by_message["a lease of 1000 ms ran out"]
    assert expired["level"] == "warning"
    assert (expired["func"], expired["job"], expired["client"]) == ("f", "expired", "a worker\nof mine")
    assert isinstance(expired["run"], int)
    dead = by_message["the job is dead after 1 runs, 1 failures and 0 crashes"]
    assert (dead["func"], dead["job"]) == ("f", "dead")
    lost = by_message["the connection was lost with jobs running: 1"]
    assert lost["connection"] == expired["connection"]


def test_a_flood_of_bad_connections_leaves_few_lines_and_a_true_count(tmp_path: Path) -> None:
    def lines() -> tuple[list[str], int]:
        """The times of the lines that were written, and how many were held back."""
        written = [json.loads(line) for line in service.log.splitlines()]
        closed = [line["time"] for line in written if line["message"].startswith("closed: BAD_MESSAGE")]
        told = [re.fullmatch(r"and (\d+) more within 5 s: closed: %s", line["message"]) for line in written]
        return closed, sum(int(found[1]) for found in told if found)

    with Service(tmp_path, "--log-format", "json") as service:
        for _ in range(200):
            raw = Connection(service)
            raw.socket.sendall(b"\xc1")
            assert raw.ends_with().startswith("BAD_MESSAGE")
            raw.socket.close()
        while len(lines()[0]) + lines()[1] < 200:
            # The end of the window comes without any further line.
            service.wait_for("WATCHDOG=1")
        closed, held_back = lines()
    assert len(closed) + held_back == 200
    windows = Counter(int(datetime.fromisoformat(time).timestamp()) // WINDOW_S for time in closed)
    assert max(windows.values()) <= LINES_MAX


class Unread(Service):
    """A daemon whose standard error is a pipe of one page that nobody reads. It logs all that it can."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "--log-level", "debug")
        self.pipe, self._write_end = os.pipe()
        fcntl.fcntl(self._write_end, fcntl.F_SETPIPE_SZ, 4096)

    def _start(self) -> None:
        command = [sys.executable, "-m", "periodicd", "--listen", self.url, *self._arguments]
        self.process = subprocess.Popen(command, cwd=self._folder, env=self.environ, stderr=self._write_end)
        os.close(self._write_end)

    def fill(self) -> None:
        """More lines than the pipe, and what waits behind it, have room for."""
        for _ in range(ROOM_LINES):
            connection = Connection(self)
            connection.ask("ping")
            connection.socket.close()


def test_a_log_that_nobody_reads_stops_neither_the_daemon_nor_its_end(tmp_path: Path) -> None:
    with Unread(tmp_path) as service:
        service.fill()
        connection = Connection(service)
        assert connection.ask("ping") == {}
        connection.socket.close()
        assert service.stop() == 0
        os.close(service.pipe)


def test_what_was_lost_of_the_log_is_told_when_it_is_read_again(tmp_path: Path) -> None:
    with Unread(tmp_path) as service:
        service.fill()
        said = b""
        while (
            lost := re.search(rb"WARNING periodicd.logs: log lines lost, since nobody took them: (\d+)\n", said)
        ) is None:
            said += os.read(service.pipe, 65_536)
        assert int(lost[1]) > 500
        assert said.count(b" connected ") > 400
        os.close(service.pipe)  # and a reader that has gone is no reason to end
        connection = Connection(service)
        assert connection.ask("ping") == {}
        connection.socket.close()


class Closed(Service):
    """A daemon that was started with no standard input, output and error at all."""

    def _start(self) -> None:
        daemon = f"exec {sys.executable} -m periodicd --listen {self.url} --log-level debug 0<&- 1>&- 2>&-"
        self.process = subprocess.Popen(["sh", "-c", daemon], cwd=self._folder, env=self.environ)


def test_a_daemon_without_a_standard_error_writes_its_lines_into_no_other_file(tmp_path: Path) -> None:
    with Closed(tmp_path) as service:
        connection = Connection(service)
        connection.ask("submit", {"func": "f", "name": "a"})
        connection.socket.close()
        assert service.stop() == 0
    written = b"".join(path.read_bytes() for path in tmp_path.iterdir() if path.is_file())
    assert b"listening on" not in written
    assert b"disconnected" not in written


def test_a_flood_without_descriptors_is_one_line_with_a_count(tmp_path: Path) -> None:
    with Service(tmp_path, "--log-format", "json") as service:
        used = len(list(Path(f"/proc/{service.process.pid}/fd").iterdir()))
        resource.prlimit(service.process.pid, resource.RLIMIT_NOFILE, (used, used))
        # Some find a gap in the numbers; the last do not.
        waiting = [socket.socket(socket.AF_UNIX) for _ in range(5)]
        for each in waiting:
            each.connect(service.url.removeprefix("unix://"))
        while "more within" not in service.log:
            service.wait_for("WATCHDOG=1")
        for each in waiting:
            each.close()
        lines = [json.loads(line) for line in service.log.splitlines() if "no room for another connection" in line]
    assert 1 < len(lines) <= 2 * LINES_MAX + 1
    assert not any("exception" in line for line in lines)


def test_a_bug_is_told_in_the_format_asked_for() -> None:
    script = "from periodicd import logs; logs.set_up('info', 'json'); raise KeyError('a bug')"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    (line,) = map(json.loads, ended.stderr.splitlines())
    assert line["level"] == "critical"
    assert line["exception"].endswith("KeyError: 'a bug'")


def test_a_start_that_fails_is_told_in_the_format_asked_for(tmp_path: Path) -> None:
    (tmp_path / "periodic.db").mkdir()
    service = Service(tmp_path, "--log-format", "json")
    assert service.run() == 3
    (line,) = map(json.loads, service.log.splitlines())
    assert line["level"] == "critical"
    assert "is a directory; --store names a file" in line["message"]
