"""The ``periodic`` command against a daemon that says what each test wants: output, exit codes, and what is asked."""

import contextlib
import dataclasses
import json
import os
import re
import signal
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from periodic_client import NewJob, Retry, ScheduledJob
from periodic_client.cli import cli
from periodic_client.cli_output import TABLE_ROWS_MAX
from periodic_client.cli_values import Duration, Time, Workload
from periodic_client.texts import duration_ms, duration_text
from periodic_client.wire import Decoder, Request, encode_error, encode_response

Answer = Callable[[list[Any]], Any]

JOB = {
    "id": 1, "func": "f", "name": "n", "state": "dead", "priority": 0, "submitted_at_ms": 0,
    "due_at_ms": 1_700_000_000_000, "lease_ms": 600_000, "attempt": 1, "failures": 1, "crashes": 0, "restarts": 0,
    "retry": {"limit": 15}, "headers": {"codec": "x"}, "reason": "it\tis\x1b[2J", "ended_at_ms": None, "run": None,
    "workload_bytes": 2, "behind": False,
}  # fmt: skip


CREATED = {"result": "created", "id": 3, "a_later_version": "knows more"}


class ScriptedDaemon(socketserver.ThreadingTCPServer):
    """Answers each method as it is told: with what a function returns, a refusal if that is an error text, or not."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: dict[str, Answer] = {}
        self.asked: list[tuple[str, list[Any]]] = []
        self.url = f"tcp://127.0.0.1:{self.server_address[1]}"

    def answer(self, request: Request) -> bytes:
        self.asked.append((request.method, request.params))
        try:
            return encode_response(request.msgid, self.answers[request.method](request.params))
        except ValueError as refusal:
            return encode_error(request.msgid, str(refusal))


class Silence(Exception):
    """The daemon does not answer."""


class Closed(Exception):
    """The daemon closes the connection."""


def raising(error: Exception) -> Answer:
    def answer(_: list[Any]) -> Any:
        raise error

    return answer


class _Handler(socketserver.BaseRequestHandler):
    server: ScriptedDaemon

    def handle(self) -> None:
        decoder = Decoder()
        while data := self.request.recv(65536):
            for message in decoder.feed(data):
                assert isinstance(message, Request)
                try:
                    self.request.sendall(self.server.answer(message))
                except Silence:
                    continue
                except Closed:
                    return


@pytest.fixture
def scripted() -> Iterator[ScriptedDaemon]:
    with ScriptedDaemon() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def run(scripted: ScriptedDaemon) -> Callable[..., Result]:
    def run(*args: str, stdin: bytes | None = None) -> Result:
        return CliRunner().invoke(cli, ["--url", scripted.url, *args], input=stdin)

    return run


Run = Callable[..., Result]


# -- commands ----------------------------------------------------------------------------------------------------------


def test_submit(scripted: ScriptedDaemon, run: Run) -> None:
    scripted.answers["submit"] = lambda _: CREATED
    result = run("submit", "f", "n")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "created\n", "")
    assert scripted.asked == [("submit", [{"func": "f", "name": "n"}])]
    result = run("submit", "f", "n", "--json")
    assert json.loads(result.stdout) == {"func": "f", "name": "n", "result": "created", "id": 3}


def test_submit_with_everything(scripted: ScriptedDaemon, run: Run) -> None:
    scripted.answers["submit"] = lambda _: CREATED
    run(
        "submit", "f", "n", "-w", "text", "--in", "1m30s", "--priority", "-7", "--lease", "2h", "--existing",
        "keep_live", "--header", "content-type=text/plain", "--header", "q=a=b", "--header", "empty=", "--lock", "disk",
        "--lock", "a=b", "--lock", "c=1=20", "--retry-limit", "3", "--retry-backoff", "fixed", "--retry-delay", "2s",
        "--retry-cap", "1m", "--retry-jitter", "20",
    )  # fmt: skip
    retry = {"limit": 3, "backoff": "fixed", "delay_ms": 2000, "cap_ms": 60_000, "jitter_percent": 20}
    assert scripted.asked[0][1][0] == {
        "func": "f", "name": "n", "workload": b"text", "delay_ms": 90_000, "priority": -7, "lease_ms": 7_200_000,
        "existing": "keep_live", "headers": {"content-type": "text/plain", "q": "a=b", "empty": ""}, "retry": retry,
        "locks": {"disk": 1, "a=b": 1, "c=1": 20},
    }  # fmt: skip
    run("submit", "f", "n", "--at", "2030-01-31T17:00Z")
    assert scripted.asked[1][1][0]["due_at_ms"] == datetime(2030, 1, 31, 17, tzinfo=UTC).timestamp() * 1000


def test_every_field_of_a_job_and_of_its_retry_rule_has_an_option() -> None:
    follows_on = {"join_group"}
    fields = {each.name for each in dataclasses.fields(NewJob) if each.init} - {"retry"}
    rule = {f"retry_{each.name}" for each in dataclasses.fields(Retry)}
    parameters = {str(parameter.name) for parameter in cli.commands["submit"].params}
    assert parameters == fields - follows_on | rule | {"as_json"}
    page = (Path(__file__).parents[2] / "protocol.md").read_text().split("\n### submit\n")[1]
    for header, known in (
        ("key", fields | {"retry"}),
        ("key of `retry`", {each.name for each in dataclasses.fields(Retry)}),
    ):
        table = page.split(f"| {header} | type |")[1].split("\n\n")[0]
        assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == known


def test_a_schedule_with_everything(scripted: ScriptedDaemon, run: Run) -> None:
    scripted.answers["set_schedule"] = lambda _: {"result": "created", "next_at_ms": None, "later": "more"}
    result = run(
        "schedule", "add", "s", "f", "--cron", "30 2 * * *", "--zone", "Europe/Berlin", "--jitter", "1m", "--missed",
        "once", "--overlap", "queue", "--from", "2030-01-31T17:00Z", "--until", "2030-01-31T17:00:01Z", "-w", "text",
        "--header", "q=a=b", "--lock", "c=1=20", "--priority", "-7", "--lease", "2h", "--run-max", "3h", "--result",
        "1s", "--retry-limit", "3",
    )  # fmt: skip
    assert (result.exit_code, result.stdout) == (0, "result: created\nnext: -\n")
    (_, (name, options)), at_ms = scripted.asked[0], 1_896_109_200_000
    job = options.pop("job")
    assert job.pop("retry")["limit"] == 3
    assert job == {
        "func": "f", "workload": b"text", "headers": {"q": "a=b"}, "locks": {"c=1": 20}, "priority": -7,
        "lease_ms": 7_200_000, "run_max_ms": 10_800_000, "result_ms": 1_000,
    }  # fmt: skip
    assert (name, options) == ("s", {
        "every_ms": None, "cron": "30 2 * * *", "zone": "Europe/Berlin", "jitter_ms": 60_000, "missed": "once",
        "overlap": "queue", "from_at_ms": at_ms, "until_at_ms": at_ms + 1_000,
    })  # fmt: skip
    run("schedule", "add", "s", "f", "--every", "1h30m")
    assert scripted.asked[1][1][1]["every_ms"] == 5_400_000


def test_every_key_of_a_schedule_and_of_its_job_has_an_option() -> None:
    (schedule,) = (command for name, command in cli.commands.items() if name == "schedule")
    assert isinstance(schedule, click.Group)
    parameters = {str(parameter.name) for parameter in schedule.commands["add"].params}
    page = (Path(__file__).parents[2] / "protocol.md").read_text().split("\n### set_schedule\n")[1]
    table = page.split("| key | type |")[1].split("\n\n")[0]
    timing = set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) - {"job"}
    job = {each.name for each in dataclasses.fields(ScheduledJob)} - {"retry"}
    rule = {f"retry_{each.name}" for each in dataclasses.fields(Retry)}
    assert parameters == timing | job | rule | {"name", "as_json"}


@pytest.mark.parametrize(
    ("what", "exit_code", "message"),
    [
        ("kept", 0, ""),
        ("refused", 1, "periodic: f n exists already; nothing was changed\n"),
        ("of a later version", 0, ""),
    ],
)
def test_submit_where_there_is_such_a_job(
    scripted: ScriptedDaemon, run: Run, what: str, exit_code: int, message: str
) -> None:
    scripted.answers["submit"] = lambda _: {"result": what, "id": 7}
    result = run("submit", "f", "n", "--existing", "refuse")
    assert (result.exit_code, result.stdout, result.stderr) == (exit_code, f"{what}\n", message)
    result = run("submit", "f", "n", "--existing", "refuse", "--json")
    assert (result.exit_code, result.stderr) == (exit_code, message)
    assert json.loads(result.stdout) == {"func": "f", "name": "n", "result": what, "id": 7}


def test_workload_from_a_file_and_from_standard_input(scripted: ScriptedDaemon, run: Run, tmp_path: Path) -> None:
    scripted.answers["submit"] = lambda _: CREATED
    file = tmp_path / "picture"
    file.write_bytes(b"\xff\x00@")
    run("submit", "f", "n", "-w", f"@{file}")
    run("submit", "f", "n", "-w", "-", stdin=b"\xfe-")
    assert [params[0]["workload"] for _, params in scripted.asked] == [b"\xff\x00@", b"\xfe-"]


def test_a_file_that_cannot_be_read_is_named(scripted: ScriptedDaemon, run: Run, tmp_path: Path) -> None:
    result = run("submit", "f", "n", "-w", f"@{tmp_path}/nothing")
    assert result.exit_code == 2
    assert f"{tmp_path}/nothing cannot be read: No such file or directory" in result.stderr
    assert not scripted.asked


NOBODY = {"worker": None, "last": None, "group": None}


def test_get(scripted: ScriptedDaemon, run: Run) -> None:
    scripted.answers["get"] = lambda _: {"result": "found", "job": JOB | {"workload": None}}
    result = run("get", "f", "n")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert "state: dead" in lines
    assert "workload_bytes: 2" in lines
    assert 'headers: {"codec": "x"}' in lines
    assert "reason: it\\tis\\x1b[2J" in lines, "nothing that a terminal would obey"
    assert "workload:" not in result.stdout
    assert any(re.match(r"due: \d{4}-\d\d-\d\d ", line) for line in lines)
    assert json.loads(run("get", "f", "n", "--json").stdout) == JOB | NOBODY | {"workload": None}
    assert scripted.asked == [("get", ["f", "n", {"id": None, "workload": False}])] * 2


def test_get_with_the_workload(scripted: ScriptedDaemon, run: Run) -> None:
    scripted.answers["get"] = lambda _: {"result": "found", "job": JOB | {"workload": b"hi"}}
    assert json.loads(run("get", "f", "n", "--json", "--workload").stdout) == JOB | NOBODY | {"workload": "hi"}
    scripted.answers["get"] = lambda _: {"result": "found", "job": JOB | {"workload": b"\xff\xfe\n"}}
    assert json.loads(run("get", "f", "n", "--json", "-w").stdout) == JOB | NOBODY | {"workload_base64": "//4K"}
    assert run("get", "f", "n", "--workload").stdout_bytes == b"\xff\xfe\n"
    assert scripted.asked == [("get", ["f", "n", {"id": None, "workload": True}])] * 3


LAST = {
    "id": 1, "ending": "done", "ended_at_ms": 1_700_000_000_000, "attempt": 2, "reason": None, "data_bytes": 2,
    "data": b"\xffr",
}  # fmt: skip


def test_get_shows_who_runs_it_its_last_errors_and_how_the_one_before_ended(scripted: ScriptedDaemon, run: Run) -> None:
    errors = [{"attempt": 1, "at_ms": 1_700_000_000_000, "text": "disk\nfull"}]
    job = JOB | {"errors": errors, "workload": None}
    scripted.answers["get"] = lambda _: {"job": job, "worker": "resizer", "last": LAST | {"data": None}}
    lines = run("get", "f", "n").stdout.splitlines()
    assert {"worker: resizer", "last_ending: done", "last_attempt: 2", "last_data_bytes: 2"} <= set(lines)
    assert re.fullmatch(r"error of attempt 1, 20\d\d-\d\d-\d\d .*: disk\\nfull", lines[-1])
    assert not any(line.startswith(("errors", "last_data:")) for line in lines)


def test_get_of_a_job_that_has_ended_shows_how(scripted: ScriptedDaemon, run: Run) -> None:
    scripted.answers["get"] = lambda params: {
        "result": "absent",
        "job": None,
        "worker": None,
        "last": LAST if params[2].get("data") else LAST | {"data": None},
    }
    result = run("get", "f", "n")
    assert (result.exit_code, result.stdout.splitlines()[1]) == (0, "last_ending: done")
    assert run("get", "f", "n", "--data").stdout_bytes == b"\xffr"
    shown = json.loads(run("get", "f", "n", "--data", "--json").stdout)["last"]
    assert (shown["ending"], shown["data_base64"]) == ("done", "/3I=")
    assert run("get", "f", "n", "--workload").exit_code == 3
    scripted.answers["get"] = lambda _: {"job": None, "last": LAST | {"data": None}}
    result = run("get", "f", "n", "--data")
    assert (result.exit_code, result.stderr) == (3, "periodic: f n: no result is kept of it\n")
    assert run("get", "f", "n", "--data", "--workload").exit_code == 2


def test_get_of_an_absent_job(scripted: ScriptedDaemon, run: Run) -> None:
    scripted.answers["get"] = lambda _: {"result": "absent", "job": None}
    result = run("get", "f", "n")
    assert (result.exit_code, result.stdout, result.stderr) == (3, "", "periodic: f n does not exist\n")
    result = run("get", "f", "n", "--json")
    assert (result.exit_code, result.stdout) == (3, "null\n")
    result = run("get", "f", "n", "--workload")
    assert (result.exit_code, result.stdout) == (3, "")
    scripted.answers["get"] = lambda _: {"result": "changed"}
    result = run("get", "f", "n", "--id", "7")
    assert scripted.asked[-1] == ("get", ["f", "n", {"id": 7, "workload": False}])
    assert (result.exit_code, result.stdout, result.stderr) == (3, "", "periodic: f n does not exist with id 7\n")


def test_list(scripted: ScriptedDaemon, run: Run) -> None:
    scripted.answers["list"] = lambda _: {"jobs": [JOB], "next": None}
    result = run("list", "--where", "func=f", "--where", "state=dead")
    assert scripted.asked == [("list", [{"func": "f", "state": "dead", "after": None, "limit": 100}])]
    title, row = (line.split("\t") for line in result.stdout.splitlines())
    assert title[:4] == ["func", "name", "state", "due"]
    assert dict(zip(title, row, strict=True))["id"] == "1", "what --id asks for"
    assert row[:3] == ["f", "n", "dead"]
    assert datetime.fromisoformat(row[3]).timestamp() == 1_700_000_000
    assert json.loads(run("list", "--json").stdout) == [JOB]


def test_list_goes_through_pages_up_to_its_limit(scripted: ScriptedDaemon, run: Run) -> None:
    def page(params: list[Any]) -> Any:
        begin = int((params[0]["after"] or "from 0").removeprefix("from "))
        count = min(2, params[0]["limit"])
        return {"jobs": [JOB | {"id": begin + i} for i in range(count)], "next": f"from {begin + count}"}

    scripted.answers["list"] = page
    result = run("list", "--limit", "5", "--json")
    assert [job["id"] for job in json.loads(result.stdout)] == [0, 1, 2, 3, 4]
    assert "the first 5 jobs" in result.stderr
    assert [params[0]["limit"] for _, params in scripted.asked] == [5, 3, 1]


def test_list_shows_states_of_a_later_daemon(scripted: ScriptedDaemon, run: Run) -> None:
    scripted.answers["list"] = lambda _: {"jobs": [JOB | {"state": "parked"}]}
    result = run("list")
    assert result.exit_code == 0
    assert "\tparked\t" in result.stdout


def test_status_goes_through_all_pages(scripted: ScriptedDaemon, run: Run) -> None:
    functions = [
        {
            "func": func, "workers": 1, "waiting": 2, "running": 3, "behind": 6, "parked": 7, "dead": 4,
            "due_at_ms": None, "started": 5,
        }
        for func in "fgh"
    ]  # fmt: skip
    pages = {None: functions[:1], "a": [], "b": functions[1:]}
    after = {None: "a", "a": "b", "b": None}

    def status(params: list[Any]) -> Any:
        at = params[0]["after"]
        return {"server": "periodicd 1", "uptime_ms": 10, "functions": pages[at], "next": after[at]}

    scripted.answers["status"] = status
    answer = json.loads(run("status", "--json").stdout)
    assert answer == {"server": "periodicd 1", "uptime_ms": 10, "functions": functions, "next": None}
    assert scripted.asked == [("status", [{"prefix": None, "after": at, "limit": 1000}]) for at in (None, "a", "b")]
    lines = run("status", "--prefix", "f").stdout.splitlines()
    assert scripted.asked[-1] == ("status", [{"prefix": "f", "after": "b", "limit": 1000}])
    assert lines[:3] == ["server: periodicd 1", "uptime_ms: 10", ""]
    assert lines[4].split("\t") == ["f", "1", "2", "3", "6", "7", "4", "-", "-", "5", "-", "-", "-"]
    assert [line.split("\t")[0] for line in lines[4:]] == ["f", "g", "h"]


@pytest.mark.parametrize(
    ("command", "results", "exit_code", "message"),
    [
        ("remove", ["removed", "removed"], 0, ""),
        ("remove", ["removed", "absent"], 3, "periodic: f b does not exist\n"),
        ("remove", ["of a later version", "removed"], 0, ""),
        ("requeue", ["requeued", "requeued"], 0, ""),
        ("requeue", ["not_dead", "absent"], 1, "periodic: f a is not dead\n"),
        ("requeue", ["absent", "not_dead"], 3, "periodic: f a does not exist\n"),
    ],
)
def test_remove_and_requeue(
    scripted: ScriptedDaemon, run: Run, command: str, results: list[str], exit_code: int, message: str
) -> None:
    by_name = dict(zip("ab", results, strict=True))
    scripted.answers[command] = lambda params: {"result": by_name[params[1]], "id": None}
    result = run(command, "f", "a", "b")
    assert scripted.asked == [(command, ["f", name, {"id": None}]) for name in "ab"]
    assert (result.exit_code, result.stderr) == (exit_code, message)
    assert result.stdout.splitlines() == [f"{name}: {what}" for name, what in by_name.items()]
    result = run(command, "f", "a", "b", "--json")
    assert json.loads(result.stdout) == [{"func": "f", "name": name, "result": by_name[name]} for name in "ab"]
    assert result.exit_code == exit_code


@pytest.mark.parametrize("command", ["remove", "requeue"])
def test_remove_and_requeue_only_the_job_with_an_id(scripted: ScriptedDaemon, run: Run, command: str) -> None:
    scripted.answers[command] = lambda _: {"result": "changed"}
    result = run(command, "f", "a", "--id", "7")
    assert scripted.asked == [(command, ["f", "a", {"id": 7}])]
    assert (result.exit_code, result.stdout) == (1, "a: changed\n")
    assert result.stderr == "periodic: f a has another id by now; nothing was changed\n"


def test_what_was_done_before_an_error_is_told(scripted: ScriptedDaemon, run: Run) -> None:
    def remove(params: list[Any]) -> Any:
        if params[1] == "b":
            raise Closed
        return {"result": "removed"}

    scripted.answers["remove"] = remove
    result = run("remove", "f", "a", "b", "c")
    assert (result.exit_code, result.stdout) == (6, "a: removed\n")
    lost, which = result.stderr.splitlines()
    assert "may or may not have happened" in lost
    assert which == "periodic: that was f b; what comes after it was not asked for"
    result = run("remove", "f", "b")
    assert (result.exit_code, result.stderr.count("\n")) == (6, 1), "of one name there is nothing to add"


Counts = dict[tuple[bool, str | None], tuple[int, str | None]]


def many(counts: Counts) -> Answer:
    """Answers a request on many: by whether it is a dry run, and its cursor, the count and the next cursor."""

    def answer(params: list[Any]) -> Any:
        count, after = counts[params[1]["dry_run"], params[1]["after"]]
        return {"count": count, "next": after}

    return answer


MANY = many({(True, None): (150, None), (False, None): (100, "a"), (False, "a"): (49, None)})


@pytest.mark.parametrize(
    ("command", "arguments", "done", "options"),
    [
        ("remove", [], "removed", {}),
        ("requeue", [], "requeued", {}),
        ("cancel", [], "cancelled", {"reason": None}),
        ("cancel", ["--reason", "sold"], "cancelled", {"reason": "sold"}),
        ("move", ["--in", "5m"], "moved", {"due_at_ms": None, "delay_ms": 300_000, "priority": None}),
        (
            "move",
            ["--at", "1970-01-01T00:01Z", "--priority", "-5"],
            "moved",
            {"due_at_ms": 60_000, "delay_ms": None, "priority": -5},
        ),
    ],
)
def test_many_at_once(
    scripted: ScriptedDaemon, run: Run, command: str, arguments: list[str], done: str, options: dict[str, Any]
) -> None:
    scripted.answers[f"{command}_matching"] = MANY
    where = ["--where", "func=f", "--where", "reason=a = b", "--where", "due_before=2030-01-31T17:00Z"]
    result = run(command, *arguments, *where, "--yes")
    assert (result.exit_code, result.stdout, result.stderr) == (0, f"{done}: 149\n", "")
    query = {"func": "f", "reason": "a = b", "due_before_at_ms": 1_896_109_200_000}
    assert [params for _, params in scripted.asked] == [
        [query, {"dry_run": True, "after": None, **options}],
        [query, {"dry_run": False, "after": None, **options}],
        [query, {"dry_run": False, "after": "a", **options}],
    ]
    scripted.asked.clear()
    result = run(command, *arguments, "--all", "--dry-run")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "150\n", "")
    assert scripted.asked == [(f"{command}_matching", [{"all": True}, {"dry_run": True, "after": None, **options}])]
    assert json.loads(run(command, *arguments, "--all", "--dry-run", "--json").stdout) == {"count": 150}


def test_where_nothing_matches_nothing_is_asked(scripted: ScriptedDaemon, run: Run) -> None:
    scripted.answers["remove_matching"] = many({(True, None): (0, None)})
    result = run("remove", "--where", "func=f", "--yes")
    assert (result.exit_code, result.stdout) == (0, "removed: 0\n")


def test_without_a_terminal_many_need_a_yes(scripted: ScriptedDaemon, run: Run) -> None:
    result = run("remove", "--where", "func=f")
    assert (result.exit_code, result.stdout, scripted.asked) == (2, "", [])
    assert "nobody can be asked whether so many are meant: give --yes, or --dry-run to count them" in result.stderr


def test_how_many_were_changed_before_an_error_is_told(scripted: ScriptedDaemon, run: Run) -> None:
    def remove(params: list[Any]) -> Any:
        if params[1]["after"] == "a":
            raise Closed
        return MANY(params)

    scripted.answers["remove_matching"] = remove
    result = run("remove", "--where", "func=f", "--yes")
    assert (result.exit_code, result.stdout) == (6, "")
    lost, before = result.stderr.splitlines()
    assert "may or may not have happened" in lost
    assert before == "periodic: 100 were removed before, and up to 100 more may have been"


@pytest.mark.parametrize(("said", "exit_code"), [("y", 0), ("n", 1)])
def test_a_terminal_is_told_the_number_and_asked(scripted: ScriptedDaemon, said: str, exit_code: int) -> None:
    scripted.answers["remove_matching"] = MANY
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "periodic_client", "--url", scripted.url, "remove", "--where", "func=f"]
    with subprocess.Popen(command, stdin=theirs, stderr=theirs, stdout=subprocess.PIPE, text=True) as process:
        os.close(theirs)
        heard = b""
        while b"[y/N]: " not in heard:
            heard += os.read(ours, 65536)
        os.write(ours, f"{said}\n".encode())
        with contextlib.suppress(OSError):
            while data := os.read(ours, 65536):
                heard += data
        os.close(ours)
        output, _ = process.communicate()
    assert b"150 jobs are to be removed. Go on?" in heard
    assert (process.returncode, output) == (exit_code, "removed: 149\n" if said == "y" else "")
    assert (b"nothing was changed" in heard) == (said == "n")
    assert any(not params[1]["dry_run"] for _, params in scripted.asked) == (said == "y")


def test_ping_and_shutdown(scripted: ScriptedDaemon, run: Run) -> None:
    scripted.answers["ping"] = scripted.answers["shutdown"] = lambda _: {}
    assert run("ping").stdout == "pong\n"
    assert json.loads(run("ping", "--json").stdout) == {}
    result = run("shutdown")
    assert (result.exit_code, result.stdout) == (0, "")
    assert json.loads(run("shutdown", "--json").stdout) == {}


# -- what goes wrong ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "exit_code", "message"),
    [
        (
            ValueError("INVALID path=job.name: job.name is empty"),
            1,
            "periodic: INVALID path=job.name: job.name is empty\n",
        ),
        (ValueError("BUSY: there is no room for another connection"), 1, "periodic: BUSY: there is no room"),
        (Closed(), 6, "may or may not have happened"),
        (Silence(), 6, "did not answer submit in 0.5 s"),
    ],
)
def test_exit_codes(scripted: ScriptedDaemon, run: Run, error: Exception, exit_code: int, message: str) -> None:
    scripted.answers["submit"] = raising(error)
    result = run("--timeout", "500ms" if isinstance(error, Silence) else "30s", "submit", "f", "n", "--json")
    assert (result.exit_code, result.stdout) == (exit_code, "")
    assert message in result.stderr


def test_no_daemon(tmp_path: Path) -> None:
    url = f"unix://{tmp_path}/nobody"
    result = CliRunner().invoke(cli, ["ping"], env={"PERIODIC_URL": url})
    assert result.exit_code == 5
    assert result.stderr == f"periodic: cannot connect to {url}: No such file or directory; nothing happened\n"


@pytest.mark.parametrize(
    "args",
    [
        ["--url", "http://x", "ping"],
        ["--timeout", "soon", "ping"],
        ["dance"],
        ["submit", "f"],
        ["submit", "f", "n", "--in", "5m", "--at", "2030-01-01"],
        ["submit", "f", "n", "--in", "five"],
        ["submit", "f", "n", "--at", "tomorrow"],
        ["submit", "f", "n", "--retry-backoff", "linear"],
        ["submit", "f", "n", "--retry-jitter", "10%"],
        ["submit", "f", "n", "--existing", "overwrite"],
        ["submit", "f", "n", "--header", "codec"],
        ["submit", "f", "n", "--header", "=x"],
        ["get", "f", "n", "--id", "0"],
        ["remove", "f", "n", "--id", "one"],
        ["remove", "f", "a", "b", "--id", "1"],
        ["requeue", "f", "a", "b", "--id", "1"],
        ["list", "--limit", "0"],
        ["list", "--where", "colour=red"],
        ["list", "--where", "func"],
        ["list", "--where", "func="],
        ["list", "--where", "func=f", "--where", "func=g"],
        ["list", "--where", "due_from=tomorrow"],
        ["list", "--where", "group_id=all"],
        ["remove", "f"],
        ["cancel", "f", "a", "b", "--id", "1"],
        ["move", "f", "n"],
        ["move", "f", "n", "--in", "5m", "--at", "2030-01-01"],
        ["end-run", "f", "n", "--as", "done"],
        ["call", "f"],
        ["call", "f", "n", "--timeout", "soon"],
        ["watch", "f"],
        ["take"],
        ["take", "f", "--max", "2"],
        ["take", "f", "--max", "0", "--json"],
        ["take", "f", "--json", "--workload", "/dev/null"],
        ["take", "f", "--workload", "/nowhere/file"],
        ["finish"],
        ["finish", "h", "--final"],
        ["finish", "h", "--data", "x", "--failed", "why"],
        ["finish", "h", "--failed", "", "--later", "0s"],
        ["extend", "h", "--lease", "long"],
        ["schedule", "add", "s", "f"],
        ["schedule", "add", "s", "f", "--every", "5m", "--cron", "* * * * *"],
        ["schedule", "add", "s", "f", "--every", "5m", "--zone", "UTC"],
        ["schedule", "add", "s", "f", "--every", "5"],
        ["schedule", "add", "s", "f", "--every", "5m", "--missed", "all"],
        ["schedule", "add", "s", "f", "--every", "5m", "--until", "tomorrow"],
        ["schedule", "add", "s", "f", "--every", "5m", "--in", "5m"],
        ["schedule", "next", "s", "--count", "101"],
        ["remove"],
        ["remove", "--yes"],
        ["remove", "f", "n", "--dry-run"],
        ["remove", "f", "--where", "func=f", "--yes"],
        ["remove", "--where", "func=f", "--id", "7", "--yes"],
        ["requeue", "--all", "--where", "func=f", "--yes"],
        ["cancel"],
        ["cancel", "f"],
        ["cancel", "--all"],
        ["cancel", "f", "n", "--all", "--yes"],
        ["move", "f", "n", "--all", "--yes", "--in", "5m"],
        ["move", "--where", "func=f", "--yes"],
        ["move", "--where", "func=f", "--in", "5m", "--at", "2030-01-01", "--yes"],
        ["move", "--where", "func=f", "--id", "7", "--in", "5m", "--yes"],
    ],
)
def test_wrong_usage(args: list[str]) -> None:
    result = CliRunner().invoke(cli, args)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Error: " in result.stderr


def test_help_tells_the_exit_codes_and_how_times_are_written() -> None:
    text = CliRunner().invoke(cli, ["--help"]).stdout
    for code in (0, 1, 2, 3, 5, 6, 7, 8, 130):
        assert f"\n    {code} " in text
    assert "1h30m" in text
    assert "local time" in CliRunner().invoke(cli, ["submit", "--help"]).stdout
    assert "workload_base64" in CliRunner().invoke(cli, ["get", "--help"]).stdout


def on_a_terminal(program: str, url: str) -> tuple[int, str, str]:
    """Run a program whose standard output is a terminal: its exit code, output and messages."""
    ours, theirs = os.openpty()
    env = os.environ | {"PERIODIC_URL": url, "COLUMNS": "150"}
    process = subprocess.Popen([sys.executable, "-c", program], stdout=theirs, stderr=subprocess.PIPE, env=env)
    os.close(theirs)
    output = b""
    with contextlib.suppress(OSError):  # reading from a terminal that nobody writes to any more
        while data := os.read(ours, 65536):
            output += data
    os.close(ours)
    _, messages = process.communicate()
    return process.returncode, output.decode(), messages.decode()


LIST = "import sys; from periodic_client.__main__ import main; sys.argv[1:] = ['list']; main()"


def test_a_terminal_is_shown_a_table(scripted: ScriptedDaemon) -> None:
    scripted.answers["list"] = lambda _: {"jobs": [JOB], "next": None}
    exit_code, output, _ = on_a_terminal(LIST, scripted.url)
    assert exit_code == 0
    assert "\t" not in output
    assert "\x1b[2J" not in output
    title, row = (re.sub(r"\x1b\[[0-9;]*m", "", line) for line in output.splitlines())
    assert title.index("state") == row.index("dead")


def test_a_terminal_is_shown_lines_where_a_table_would_take_minutes(scripted: ScriptedDaemon) -> None:
    scripted.answers["list"] = lambda _: {"jobs": [JOB] * (TABLE_ROWS_MAX + 1), "next": None}
    exit_code, output, _ = on_a_terminal(LIST.replace("'list'", "'list', '--limit', '1001'"), scripted.url)
    assert exit_code == 0
    rows = output.splitlines()
    assert len(rows) == TABLE_ROWS_MAX + 2
    assert all(row.count("\t") == rows[0].count("\t") > 0 for row in rows)


@pytest.mark.parametrize("package", ["click", "rich"])
def test_a_missing_package_is_named(scripted: ScriptedDaemon, package: str) -> None:
    program = f"import sys; sys.modules[{package!r}] = None; {LIST}"
    scripted.answers["list"] = lambda _: {"jobs": [JOB], "next": None}
    exit_code, output, messages = on_a_terminal(program, scripted.url)
    assert (exit_code, output) == (2, "")
    assert messages == f"periodic: {package} is not installed; pip install periodicd\n"


def test_as_a_process(scripted: ScriptedDaemon) -> None:
    scripted.answers["ping"] = lambda _: {}
    env = os.environ | {"PERIODIC_URL": scripted.url}
    command = [sys.executable, "-m", "periodic_client", "ping"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert (result.returncode, result.stdout, result.stderr) == (0, "pong\n", "")


def test_interrupted(scripted: ScriptedDaemon) -> None:
    asked = threading.Event()

    def never(_: list[Any]) -> None:
        asked.set()
        raise Silence

    scripted.answers["ping"] = never
    command = [sys.executable, "-m", "periodic_client", "--url", scripted.url, "ping"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # What runs in the background of a shell ignores SIGINT, and so would its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert asked.wait(60)
        process.send_signal(signal.SIGINT)
        assert process.communicate() == ("", "periodic: interrupted\n")
    assert process.returncode == 130


# -- values ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("500ms", 500),
        ("5m", 300_000),
        ("1h30m", 5_400_000),
        ("2d", 172_800_000),
        ("0s", 0),
        ("1s1ms", 1001),
        ("1.5h", 5_400_000),
        ("5 m", 300_000),
        ("1h 30m", 5_400_000),
    ],
)
def test_durations(text: str, ms: int) -> None:
    assert Duration().convert(text, None, None) == ms


@pytest.mark.parametrize("ms", [0, 1, 999, 1_000, 300_000, 5_400_000, 86_400_000, 366 * 86_400_000, 90_061_001])
def test_a_duration_is_written_as_it_is_read(ms: int) -> None:
    assert duration_ms(duration_text(ms)) == ms
    assert duration_text(5_400_000) == "1h30m"


@pytest.mark.parametrize(
    "text", ["", "5", "m", "5  m", "-5m", "1.h", ".5h", "5M", "1h-5m", "9" * 5000, "5m ", "\u0665m", "5m\n"]
)
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not a duration"):
        Duration().convert(text, None, None)


def test_a_time_without_a_zone_is_local(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "XYZ-3")
    time.tzset()
    try:
        assert Time().convert("2030-07-31T19:00", None, None) == 1_911_744_000_000
        assert Time().convert("2030-07-31T18:00+02:00", None, None) == 1_911_744_000_000
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("text", ["", "soon", "2030-13-01", "0001-01-01T00:00"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not a time"):
        Time().convert(text, None, None)


def test_bytes_on_the_command_line_stay_bytes() -> None:
    assert Workload().convert("ä\udcff", None, None) == b"\xc3\xa4\xff"


# -- steering and working ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "method", "options"),
    [
        (["cancel", "f", "n", "--reason", "why"], "cancel", {"id": None, "reason": "why"}),
        (["cancel", "f", "n", "--id", "7"], "cancel", {"id": 7, "reason": None}),
        (
            ["move", "f", "n", "--in", "5m"],
            "move",
            {"id": None, "due_at_ms": None, "delay_ms": 300_000, "priority": None},
        ),
        (
            ["move", "f", "n", "--at", "1970-01-01T00:01Z", "--priority", "-5"],
            "move",
            {"id": None, "due_at_ms": 60_000, "delay_ms": None, "priority": -5},
        ),
        (["end-run", "f", "n"], "end_run", {"id": None, "as": None, "reason": None}),
        (["end-run", "f", "n", "--as", "later", "--reason", "hangs"], "end_run",
         {"id": None, "as": "later", "reason": "hangs"}),
    ],
)  # fmt: skip
def test_steering(
    scripted: ScriptedDaemon, run: Run, arguments: list[str], method: str, options: dict[str, Any]
) -> None:
    scripted.answers[method] = lambda _: {"result": "well done"}
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (0, "n: well done\n")
    assert scripted.asked == [(method, ["f", "n", options])]
    assert json.loads(run(*arguments, "--json").stdout) == [{"func": "f", "name": "n", "result": "well done"}]
    refusal = {"cancel": "not_live", "move": "not_waiting", "end_run": "not_running"}[method]
    scripted.answers[method] = lambda _: {"result": refusal}
    assert run(*arguments).exit_code == 1


TAKEN = {
    "handle": "3-1-1-ab", "run": 4, "func": "f", "name": "it's $(touch x) \n a\0b", "workload": b"\x00\xff\n",
    "headers": {"q": "a'b"}, "due_at_ms": 5, "priority": 0, "lease_ms": 1000, "attempt": 1, "failures": 0, "crashes": 0,
}  # fmt: skip


def test_take_prints_assignments_that_a_shell_reads_back_whatever_is_in_them(
    scripted: ScriptedDaemon, run: Run, tmp_path: Path
) -> None:
    scripted.answers["take"] = lambda _: {"jobs": [TAKEN]}
    result = run("take", "f", "g", "--lease", "1m", "-w", str(tmp_path / "in"))
    assert scripted.asked == [("take", [{"funcs": ["f", "g"], "max": 1, "wait_ms": 60_000, "lease_ms": 60_000}])]
    assert (tmp_path / "in").read_bytes() == b"\x00\xff\n"
    script = 'eval "$1"; printf "%s|" "$job_handle" "$job_name" "$job_run" "$job_headers"'
    read = subprocess.run(["sh", "-c", script, "sh", result.stdout], capture_output=True, text=True, check=True)
    assert read.stdout == "3-1-1-ab|it's $(touch x) \n a\\x00b|4|" + json.dumps({"q": "a'b"}) + "|"


def test_take_as_json(scripted: ScriptedDaemon, run: Run) -> None:
    scripted.answers["take"] = lambda _: {"jobs": [TAKEN, TAKEN | {"workload": b"text"}]}
    shown = json.loads(run("take", "f", "--max", "9", "--wait", "500ms", "--json").stdout)
    assert scripted.asked[0][1][0]["wait_ms"] == 500
    assert [job.get("workload", job.get("workload_base64")) for job in shown] == ["AP8K", "text"]


def test_when_there_is_no_job_in_time_take_says_so_by_its_exit_code(scripted: ScriptedDaemon, run: Run) -> None:
    scripted.answers["take"] = lambda _: {"jobs": []}
    result = run("take", "f", "--wait", "0s")
    assert (result.exit_code, result.stdout, result.stderr) == (3, "", "periodic: there was no job to take\n")
    result = run("take", "f", "--wait", "0s", "--json")
    assert (result.exit_code, result.stdout) == (3, "[]\n")


def test_take_without_a_limit_goes_on_over_empty_answers_and_lost_connections(
    scripted: ScriptedDaemon, run: Run
) -> None:
    answers: list[Any] = [{"jobs": []}, Closed(), ValueError("BUSY: full"), {"jobs": [TAKEN]}]

    def answer(_: list[Any]) -> Any:
        given = answers.pop(0)
        if isinstance(given, Exception):
            raise given
        return given

    scripted.answers["take"] = answer
    result = run("take", "f")
    assert result.exit_code == 0
    assert result.stdout.startswith("job_handle=3-1-1-ab\n")
    assert result.stderr.count("trying again") == 1


@pytest.mark.parametrize(
    ("arguments", "outcome"),
    [
        ([], {"outcome": "done"}),
        (["--data", "r"], {"outcome": "done", "data": b"r"}),
        (["--data", "-"], {"outcome": "done", "data": b"\xff"}),
        (["--failed", "why"], {"outcome": "failed", "reason": "why"}),
        (["--failed", "", "--final"], {"outcome": "failed", "reason": "", "final": True}),
        (["--later", "5s"], {"outcome": "later", "delay_ms": 5000}),
    ],
)
def test_finish(scripted: ScriptedDaemon, run: Run, arguments: list[str], outcome: dict[str, Any]) -> None:
    scripted.answers["finish"] = lambda _: {}
    result = run("finish", "h", *arguments, stdin=b"\xff")
    assert (result.exit_code, result.stdout) == (0, "")
    assert scripted.asked == [("finish", ["h", outcome])]


def test_a_report_whose_answer_was_lost_is_sent_again(scripted: ScriptedDaemon, run: Run) -> None:
    answers = iter([Closed(), ValueError("LEASE_LOST: reported already")])
    scripted.answers["finish"] = lambda _: raising(next(answers))(_)
    result = run("finish", "h")
    assert (result.exit_code, len(scripted.asked)) == (1, 2)
    assert "had arrived before, or came too late" in result.stderr
    scripted.answers["finish"] = raising(ValueError("LEASE_LOST: not the latest"))
    assert run("finish", "h").stderr == "periodic: LEASE_LOST: not the latest\n"


def test_extend_says_whether_the_job_need_go_on(scripted: ScriptedDaemon, run: Run) -> None:
    scripted.answers["extend"] = lambda _: {"lease_until_at_ms": 5, "cancelled": False}
    assert run("extend", "h", "--lease", "5m").stdout == "extended\n"
    assert scripted.asked == [("extend", ["h", {"lease_ms": 300_000}])]
    scripted.answers["extend"] = lambda _: {"lease_until_at_ms": 5, "cancelled": True}
    assert run("extend", "h").stdout == "cancelled\n"
    assert json.loads(run("extend", "h", "--json").stdout) == {"lease_until_at_ms": 5, "cancelled": True}


# -- waiting -----------------------------------------------------------------------------------------------------------

NEWS = {
    "result": "found", "id": 3, "ended": False, "ending": None, "data": None, "data_bytes": 0, "reason": None,
    "state": "running", "attempt": 1, "progress": None, "chunks": [b"\xff", b"a\n"], "missed": 0, "next": "w1",
}  # fmt: skip
DONE = NEWS | {"ended": True, "ending": "done", "data": b"\x00r", "data_bytes": 2, "state": None, "chunks": []}


def telling(scripted: ScriptedDaemon, *all_news: dict[str, Any]) -> None:
    told = iter(all_news)
    scripted.answers |= {"submit": lambda _: CREATED, "watch": lambda _: next(told)}


def test_call_prints_what_comes_byte_by_byte_and_then_the_result(scripted: ScriptedDaemon, run: Run) -> None:
    telling(scripted, NEWS, NEWS | {"missed": 2, "chunks": [b"b"]}, DONE)
    result = run("call", "f", "n", "-w", "text", "--result", "1h", "--run-max", "5m")
    assert (result.exit_code, result.stdout_bytes) == (0, b"\xffa\nb\x00r")
    assert result.stderr == "periodic: 2 of what the run sent may have been missed\n"
    job = scripted.asked[0][1][0]
    assert (job["result_ms"], job["run_max_ms"]) == (3_600_000, 300_000)


@pytest.mark.parametrize("workers", [0, 1])
def test_call_says_at_once_when_no_worker_has_the_function(scripted: ScriptedDaemon, run: Run, workers: int) -> None:
    telling(scripted, NEWS | {"state": "waiting", "attempt": 0, "chunks": []}, DONE)
    functions = [{"func": "f2", "workers": 1}] + [{"func": "f", "workers": 1}] * workers
    scripted.answers["status"] = lambda _: {"functions": functions}
    result = run("call", "f", "n")
    assert (result.exit_code, result.stdout_bytes) == (0, b"\x00r")
    assert result.stderr == ("" if workers else "periodic: nobody has subscribed to f; waiting for a worker\n")


@pytest.mark.parametrize("command", ["call", "watch"])
@pytest.mark.parametrize("ending", ["dead", "removed", "replaced", "cancelled", "a later word"])
def test_a_job_that_ends_otherwise_than_done_is_exit_code_7(
    scripted: ScriptedDaemon, run: Run, command: str, ending: str
) -> None:
    telling(scripted, DONE | {"ending": ending, "reason": "why", "data": None})
    result = run(command, "f", "n")
    assert (result.exit_code, result.stdout) == (7, "")
    assert re.fullmatch(r"periodic: f n .*: why\n", result.stderr)
    telling(scripted, DONE | {"ending": ending, "reason": "why", "data": None})
    result = run(command, "f", "n", "--json")
    assert (result.exit_code, json.loads(result.stdout)["ending"]) == (7, ending)


def test_call_as_json_is_one_object(scripted: ScriptedDaemon, run: Run) -> None:
    telling(scripted, NEWS, DONE)
    result = run("call", "f", "n", "--json")
    assert json.loads(result.stdout) == {
        "id": 3, "ending": "done", "reason": None, "attempt": 1, "data_bytes": 2, "data": "\x00r",
    }  # fmt: skip


def test_a_call_without_an_end_in_time_is_exit_code_6(scripted: ScriptedDaemon, run: Run) -> None:
    scripted.answers |= {"submit": lambda _: CREATED, "watch": raising(Silence())}
    result = run("call", "f", "n", "--timeout", "100ms")
    assert (result.exit_code, result.stdout) == (6, "")
    assert "f n has not ended in 0.1 s" in result.stderr


def test_a_call_that_is_refused_or_whose_result_is_lost(scripted: ScriptedDaemon, run: Run) -> None:
    telling(scripted, DONE | {"data": None, "data_bytes": 70_000})
    assert run("call", "f", "n").exit_code == 6
    telling(scripted, DONE)
    scripted.answers["submit"] = lambda _: {"result": "refused", "id": 2}
    result = run("call", "f", "n", "--existing", "refuse")
    assert (result.exit_code, result.stderr) == (1, "periodic: f n exists already, and nothing was put\n")


def test_watch_prints_bytes_or_a_line_of_json_for_each_piece_of_news(scripted: ScriptedDaemon, run: Run) -> None:
    progress = {"progress": {"done": 1, "total": 2, "note": "x"}, "chunks": []}
    telling(scripted, NEWS, NEWS | progress, DONE)
    assert run("watch", "f", "n").stdout_bytes == b"\xffa\n\x00r"
    telling(scripted, NEWS, NEWS | progress, DONE)
    lines = [json.loads(line) for line in run("watch", "f", "n", "--json").stdout.splitlines()]
    assert [line["chunks"] for line in lines] == [[{"chunk_base64": "/w=="}, {"chunk": "a\n"}], [], []]
    assert lines[1]["progress"] == progress["progress"]
    assert lines[2]["data"] == "\x00r"


def test_watch_of_what_is_not_there(scripted: ScriptedDaemon, run: Run) -> None:
    telling(scripted, NEWS | {"result": "absent", "id": None})
    result = run("watch", "f", "n")
    assert (result.exit_code, result.stdout) == (3, "")


EVENT = {
    "at_ms": 1_700_000_000_000, "kind": "failed", "func": "f", "name": "n", "id": 1, "run": 2, "worker": None,
    "text": "a\tb",
}  # fmt: skip


def test_events_are_shown_to_the_last(scripted: ScriptedDaemon, run: Run) -> None:
    def answer(params: list[Any]) -> Any:
        first = params[0]["after"] is None
        return {"events": [EVENT, EVENT] if first else [], "missed": 0, "next": "e1"}

    scripted.answers["events"] = answer
    result = run("events", "--kind", "failed", "--kind", "dead", "--func", "f")
    assert result.exit_code == 0
    assert re.fullmatch(r"20\d\d-\S* \S*\tfailed\tf\tn\t1\t2\t-\ta\\tb", result.stdout.splitlines()[1])
    query = {"after": None, "timeout_ms": 0, "kinds": ["failed", "dead"], "func": "f", "limit": None}
    assert scripted.asked[0] == ("events", [query])
    assert [json.loads(line) for line in run("events", "--json").stdout.splitlines()] == [EVENT, EVENT]


def test_workers_are_shown_with_their_functions(scripted: ScriptedDaemon, run: Run) -> None:
    worker = {
        "connection": 1, "client": "resizer", "connected_at_ms": 0, "silent_ms": 5, "silence_ms": 60_000,
        "credit": 1000, "running": 1, "function_count": 3, "runs": [],
        "functions": [{"func": "f", "limit": 4, "running": 1}, {"func": "g", "limit": 1, "running": 0}],
    }  # fmt: skip
    scripted.answers["workers"] = lambda _: {"workers": [worker], "next": None}
    result = run("workers", "--func", "f")
    assert result.stdout.splitlines()[1].split("\t")[-1] == "f 1/4, g 0/1 and 1 more"
    assert json.loads(run("workers", "--json").stdout) == [worker]


CALL = "import sys; from periodic_client.__main__ import main; sys.argv[1:] = ['call', 'f', 'n']; main()"


def test_a_terminal_is_shown_how_far_the_job_is(scripted: ScriptedDaemon) -> None:
    telling(scripted, NEWS | {"progress": {"done": 1, "total": 2, "note": "cutting"}}, DONE)
    ours, theirs = os.openpty()
    env = os.environ | {"PERIODIC_URL": scripted.url, "COLUMNS": "80", "TERM": "xterm"}
    with subprocess.Popen([sys.executable, "-c", CALL], stdout=subprocess.PIPE, stderr=theirs, env=env) as process:
        os.close(theirs)
        assert process.stdout is not None
        output = process.stdout.read()
        messages = b""
        with contextlib.suppress(OSError):
            while data := os.read(ours, 65536):
                messages += data
    os.close(ours)
    assert output == b"\xffa\n\x00r"
    assert b"1/2" in messages
    assert b"cutting" in messages
