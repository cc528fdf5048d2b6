"""The recipes of docs/cookbook.md: files and commands are taken from the page, and run against the real daemon.

Each heading has a test of its name. Every command that stands on a line of its own is run, or the test says why not.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from email import message_from_bytes
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import pytest
import trio

from periodic_client import Client, Done, Failed, Later, NewJob, Outcome, TakenJob
from rig.daemon import Daemon

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "cookbook.md").read_text()
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BERLIN = ZoneInfo("Europe/Berlin")
T = TypeVar("T")


def named(heading: str) -> str:
    """The test of the recipe of this heading."""
    return "test_" + re.sub(r"[^\w ]", "", heading.lower()).replace(" ", "_")


RECIPES = {named(heading): text for heading, text in re.findall(r"^## (.*)\n((?:(?!^## ).*\n)*)", PAGE, re.MULTILINE)}


class Recipe:
    """One recipe, in a folder that has its files. What is run there finds the daemon, and stands for who copied it."""

    def __init__(self, text: str, daemon: Daemon, folder: Path) -> None:
        self.daemon = daemon
        self.folder = folder
        self.lines: list[str] = [
            line.split("  #")[0].rstrip() for line in re.findall(r"^    (.+)$", FENCE.sub("", text), re.MULTILINE)
        ]
        self.not_run = set(self.lines)
        self.env = os.environ | {
            "PERIODIC_URL": daemon.url,
            "PATH": f"{folder}/bin:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
        }
        (folder / "bin").mkdir(parents=True)
        for name, source in re.findall(
            r"^\*\*([\w.]+)\*\*[^\n]*:\n\n```\w+\n(.*?)^```$", text, re.MULTILINE | re.DOTALL
        ):
            self.write(name, source)

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o755)

    def line(self, begin: str) -> str:
        """The line of the page that begins so."""
        found, *others = (line for line in self.lines if line.startswith(begin))
        assert not others, begin
        self.not_run.discard(found)
        return found

    def started(self, line: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            ["bash", "-c", line], cwd=self.folder, env=self.env, text=True, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def ended(self, line: str, code: int = 0) -> str:
        """What a command says, which need not be on the page."""
        with self.started(line) as process:
            output, errors = process.communicate()
        assert process.returncode == code, (line, process.returncode, output, errors)
        return output

    def does(self, begin: str, code: int = 0) -> str:
        """What the command of the page says."""
        return self.ended(self.line(begin), code)

    @contextmanager
    def working(self, begin: str) -> Iterator[Iterator[str]]:
        """A worker of the page, which is stopped in the end; the lines that it prints."""
        with self.started(self.line(begin)) as worker:
            try:
                assert worker.stdout is not None
                yield (line.strip() for line in worker.stdout)
                worker.send_signal(signal.SIGTERM)
                _, errors = worker.communicate()
                assert worker.returncode == 0, errors
            finally:
                if worker.poll() is None:
                    os.killpg(worker.pid, signal.SIGKILL)

    # What is not on the page is asked for without the start of a process.

    def asks(self, ask: Callable[[Client], Awaitable[T]]) -> T:
        async def main() -> T:
            async with Client(self.env["PERIODIC_URL"]) as client:
                return await ask(client)

        return trio.run(main)

    def jobs(self, func: str | None = None) -> list[dict[str, Any]]:
        async def every(client: Client) -> list[dict[str, Any]]:
            return [job async for job in client.list(func)]

        return self.asks(every)

    def submits(self, *jobs: NewJob) -> None:
        self.asks(lambda client: client.submit_batch(jobs))

    def takes(self, func: str, wait_s: float = 10) -> TakenJob | None:
        taken = self.asks(lambda client: client.take(func, wait_s=wait_s))
        return taken[0] if taken else None

    def reports(self, job: TakenJob | None, outcome: Outcome = None) -> None:
        assert job is not None
        handle = job.handle
        self.asks(lambda client: client.finish(handle, outcome))


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with Daemon(tmp_path) as daemon:
        yield daemon


@pytest.fixture
def recipe(request: pytest.FixtureRequest, daemon: Daemon, tmp_path: Path) -> Iterator[Recipe]:
    recipe = Recipe(RECIPES[request.node.name], daemon, tmp_path / "recipe")
    yield recipe
    if not request.session.testsfailed:
        assert not recipe.not_run


def test_each_recipe_has_its_test_and_its_line_at_the_top() -> None:
    assert len(RECIPES) == 10
    assert set(RECIPES) <= set(globals())
    assert [named(heading) for heading in re.findall(r"^\* \[(.*)\]\(#", PAGE, re.MULTILINE)] == list(RECIPES)


def test_a_report_every_night(recipe: Recipe) -> None:
    """It is not waited for the night: the schedule says when it fires, and is let fire."""
    today = datetime.now(BERLIN).date()
    for days in (0, 1, 2):  # one of them is yesterday, also if midnight passes
        (recipe.folder / f"orders-{today + timedelta(days=1 - days)}.csv").write_text("1\n2\n3\n")
    assert "created" in recipe.does("periodic schedule add")
    times = recipe.does("periodic schedule next").splitlines()
    assert [datetime.fromisoformat(time).astimezone(BERLIN).strftime("%H:%M") for time in times] == ["04:30"] * 3
    assert recipe.does("periodic schedule run") == "fired\n"
    assert "nightly@" in recipe.does("periodic list")
    (job,) = recipe.jobs("report")
    with recipe.working("python3 report.py"):
        text = recipe.ended(f"periodic watch report {job['name']}")
    day = datetime.fromisoformat(job["name"].partition("@")[2]).astimezone(BERLIN).date() - timedelta(days=1)
    assert text == f"{day}: 3 orders\n"
    assert (recipe.folder / f"report-{day}.txt").read_text() == text
    assert recipe.ended(f"periodic get report {job['name']} --data") == text


def test_a_job_that_fails_tells_a_person(recipe: Recipe) -> None:
    """`mail` writes into a file here. It is not waited for a minute: the worker of the schedule is called."""
    mail = '#!/bin/sh\n{ printf "%s " "$@"; cat; } >>mails\n'
    recipe.write("bin/mail", "#!/bin/sh\nexit 1\n")
    assert "created" in recipe.does("periodic schedule add")
    submit = recipe.line("periodic submit").replace("--retry-delay 1m", "--retry-delay 1ms")
    recipe.ended(submit)
    refused = "sh -c 'echo the card was refused >&2; exit 1'"
    with recipe.working("periodic work tell"):
        with recipe.started(f"periodic work charge --no-name -- {refused}") as charging:
            recipe.ended("periodic watch charge order-17", code=7)
            charging.terminate()
            charging.communicate()
        recipe.ended(submit.replace("order-17", "order-18"))
        for _ in range(3):
            recipe.reports(recipe.takes("charge"), Failed("no answer"))
        recipe.ended("periodic call tell now --retry-limit 0", code=7)
        recipe.write("bin/mail", mail)
        recipe.does("periodic call tell")
        told = [
            "-s charge order-17 is dead oncall@example.org exit code 1: the card was refused",
            "-s charge order-18 is failing oncall@example.org no answer",
        ]
        assert (recipe.folder / "mails").read_text().splitlines() == told
        recipe.reports(recipe.takes("charge"), Failed("gone", final=True))
        recipe.does("periodic call tell")
        told.append("-s charge order-18 is dead oncall@example.org gone")
        assert (recipe.folder / "mails").read_text().splitlines() == told, "each once"


def test_one_job_at_a_time_for_each_user(recipe: Recipe) -> None:
    for name in ("ann/1", "ann/2", "bob/1"):
        recipe.does(f"periodic submit import {name}")
    taken = [recipe.takes("import"), recipe.takes("import")]
    assert [job and job.name for job in taken] == ["ann/1", "bob/1"]
    assert recipe.takes("import", wait_s=0) is None
    shown = recipe.does("periodic lock show")
    assert "parked: 1" in shown
    assert "ann/1" in shown
    assert "ann/2" in recipe.does("periodic list")
    assert "user-ann" in recipe.does("periodic explain")
    for job in taken:
        recipe.reports(job, Later(0))
    with recipe.working("python3 imports.py") as lines:
        assert {next(lines), next(lines)} == {"ann/2 begins", "bob/1 begins"}, "who stood in line is first"
        rest = [next(lines) for _ in range(4)]
    assert rest.index("ann/1 begins") > rest.index("ann/2 ends")


async def test_ten_calls_a_second_to_a_partner(recipe: Recipe) -> None:
    called: Queue[tuple[str, bytes]] = Queue()

    class Partner(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            called.put((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    recipe.ended("periodic events")  # from now on they are kept
    recipe.does("periodic lock set")
    recipe.does("periodic submit call-partner")
    async with Client(recipe.daemon.url) as client:
        await client.submit_batch([NewJob("call-partner", f"a/{n}", locks={"partner": 1}) for n in range(11)])
    with ThreadingHTTPServer(("127.0.0.1", 0), Partner) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            worker = recipe.line("PARTNER=")
            address = f"http://127.0.0.1:{server.server_port}"
            with recipe.started(worker.replace("https://partner.example.org", address)) as process:
                calls = [await trio.to_thread.run_sync(called.get) for _ in range(12)]
                shown = recipe.does("periodic lock show")
                process.terminate()
                process.communicate()
        finally:
            server.shutdown()
            thread.join()
    assert ("/orders/4711", b'{"paid": true}') in calls
    assert ("/orders/a%2F10", b"") in calls
    assert "capacity: 4" in shown
    events = [json.loads(line) for line in recipe.ended("periodic events --kind started --json").splitlines()]
    begun = [event["at_ms"] for event in events]
    assert len(begun) == 12
    gaps = [after - before for before, after in pairwise(begun)]
    assert min(gaps) >= 99, "of a time that is told in whole milliseconds"


def test_a_script_at_0230_berlin_time(recipe: Recipe) -> None:
    """It is not waited for the night: the schedule says when it fires, and is let fire."""
    uploads = recipe.folder / "uploads"
    uploads.mkdir()
    for name, days in (("old.part", 2), ("new.part", 0), ("old.jpg", 2)):
        (uploads / name).touch()
        then = (datetime.now(BERLIN) - timedelta(days=days)).timestamp()
        os.utime(uploads / name, (then, then))
    recipe.does("periodic schedule add")
    times = recipe.does("periodic schedule next").splitlines()
    assert [datetime.fromisoformat(time).astimezone(BERLIN).strftime("%H:%M") for time in times] == ["02:30"] * 3
    recipe.does("periodic schedule run")
    assert "tidy-uploads@" in recipe.does("periodic list")
    (job,) = recipe.jobs("tidy")
    with recipe.started(recipe.line("periodic events")) as following:
        with recipe.working("periodic work"):
            assert recipe.ended(f"periodic watch tidy {job['name']}") == "uploads/old.part\n"
        following.terminate()
        following.communicate()
    assert {path.name for path in uploads.iterdir()} == {"new.part", "old.jpg"}


def test_the_daemon_moves_to_another_machine(recipe: Recipe, tmp_path: Path) -> None:
    """The other machine is another folder. systemd and ssh are not run: the daemon is stopped and started, and the
    copy is copied, where the page has them do it."""
    old, new = tmp_path, tmp_path / "new"
    there = "/var/lib/periodicd"
    lines = [line.replace("new-machine:", "elsewhere/") for line in recipe.lines]
    stop, backup, copy, aside, make, restore, check, start, export, status = lines
    assert (stop, start) == ("systemctl disable --now periodicd", "systemctl enable --now periodicd")
    assert copy == "scp move.db elsewhere/"
    recipe.not_run.clear()
    recipe.submits(NewJob("later", "a", "kept", delay_ms=3_600_000), NewJob("now", "b"))
    taken = recipe.takes("now")
    before = recipe.jobs()
    recipe.daemon.stop()
    recipe.ended(backup.replace(there, str(old)))
    (recipe.folder / "elsewhere").mkdir()
    shutil.copy(recipe.folder / "move.db", recipe.folder / "elsewhere")
    recipe.ended(aside.replace(there, str(old)))
    assert not (old / "periodic.db").exists()
    recipe.ended(make.replace(there, str(new)))
    recipe.ended(f"cd elsewhere && {restore.replace(there, str(new))}")
    assert "2 jobs, all whole" in recipe.ended(check.replace(there, str(new)))
    with Daemon(new) as daemon:
        recipe.env["PERIODIC_URL"] = "tcp://127.0.0.1:1"
        export = export.replace("tcp://new-machine:5000", daemon.url).replace("tcp://elsewhere/5000", daemon.url)
        recipe.ended(f"{export}; {status}")
        recipe.env["PERIODIC_URL"] = daemon.url
        moved = recipe.jobs()
        assert [(job["id"], job["due_at_ms"]) for job in moved] == [(job["id"], job["due_at_ms"]) for job in before]
        assert [(job["name"], job["state"]) for job in moved] == [("a", "waiting"), ("b", "running")]
        assert recipe.ended("periodic get later a --workload") == "kept"
        recipe.reports(taken)
        assert [job["name"] for job in recipe.jobs()] == ["a"]


def test_a_worker_in_bash(recipe: Recipe) -> None:
    expected = recipe.ended("sha256sum -- /etc/hostname")
    call = recipe.line("periodic call")
    with recipe.started(recipe.line("./checksum.sh")) as loop:
        try:
            assert recipe.ended(call).strip() == expected.strip()
            recipe.ended("periodic submit checksum /not/there --retry-limit 0")
            recipe.ended("periodic watch checksum /not/there", code=7)
            (job,) = recipe.jobs("checksum")
            assert "No such file" in job["reason"]
        finally:
            os.killpg(loop.pid, signal.SIGKILL)
        loop.communicate()
    with recipe.working("periodic work"):
        assert recipe.ended(f"{call} --existing replace") == expected


def test_nothing_runs_while_you_deploy(recipe: Recipe) -> None:
    recipe.write("migrate.sh", "#!/bin/sh\necho migrated\n")
    recipe.submits(NewJob("charge", "a"), NewJob("charge", "b"))
    taken = recipe.takes("charge")
    with recipe.started(recipe.line("./drain.sh")) as draining:
        assert draining.stdout is not None
        assert "paused" in draining.stdout.readline()
        assert draining.stdout.readline() == "jobs of charge run still\n"
        assert recipe.takes("charge", wait_s=0) is None
        recipe.reports(taken)
        output, errors = draining.communicate()
    assert (draining.returncode, output.splitlines()[-1]) == (0, "migrated"), errors
    assert recipe.takes("charge", wait_s=0) is None
    recipe.does("periodic resume")
    assert recipe.takes("charge") is not None


def test_a_customer_asks_for_a_job(recipe: Recipe) -> None:
    name = "customer-7/2026-11"
    recipe.does("periodic submit")
    assert name in recipe.does("periodic list")
    assert "it is not due for" in recipe.does("periodic explain")
    move, requeue, data = re.findall(
        r"`(periodic (?:move|requeue|get) [^`]+)`", RECIPES[named("A customer asks for a job")]
    )
    recipe.ended(move)
    assert "no worker has its function" in recipe.does("periodic explain")
    recipe.reports(recipe.takes("invoice"), Failed("timeout", final=True))
    assert recipe.does("periodic explain") == "it is dead: timeout\n"
    assert "reason: timeout" in recipe.does("periodic get")
    recipe.ended(requeue)
    recipe.reports(recipe.takes("invoice"), Done("17 EUR"))
    assert re.search(r"the last of this name ended .* ago: done", recipe.does("periodic explain", code=3))
    assert "last_ending: done" in recipe.does("periodic get")
    assert recipe.ended(data) == "17 EUR"
    assert recipe.ended("periodic explain invoice customer-8/2026-11", code=3) == "there is no such job\n"


def test_a_mail_when_a_picture_is_finished(recipe: Recipe) -> None:
    """The whole chain with a small picture. `sendmail` writes into a pipe here, which is waited for."""
    os.mkfifo(recipe.folder / "mails")
    recipe.write("bin/sendmail", '#!/bin/sh\n[ "$1" = -t ] && cat >mails\n')
    shutil.copy(ROOT / "tests" / "pictures" / "gray.jpg", recipe.folder / "cat.jpg")
    with recipe.working("image-workers"), recipe.working("python3 mail.py"):
        recipe.does("periodic submit save")
        mail = message_from_bytes((recipe.folder / "mails").read_bytes(), policy=default)
    assert (mail["To"], mail["Subject"]) == ("ann@example.org", "cat.jpg is finished")
    body = mail.get_body()
    assert body is not None
    published = re.findall(r"^(\S+): (\d+) bytes$", body.get_content(), re.MULTILINE)
    assert [(key, int(size)) for key, size in published] == [
        (key, (recipe.folder / "bucket" / key).stat().st_size) for key in ("ann/cat.jpg", "ann/cat_fw500.jpg")
    ]
