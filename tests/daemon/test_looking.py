"""Commands that look at the whole of a daemon, as a person or a script gives them; and requeue, spread."""

import json
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import trio

from periodic_client import Client, Failed, Job, NewJob, Worker
from periodic_client.cli_dead import _one_by_one
from periodic_client.cli_top_view import KEYS
from periodic_client.wire import limits
from rig.daemon import Daemon
from tests.daemon.command import Ended, periodic


def verdicts(ended: Ended) -> dict[str, str]:
    return {each["check"]: each["verdict"] for each in json.loads(ended.stdout)["findings"]}


def said(daemon: Daemon, *arguments: str) -> Any:
    return json.loads(periodic(daemon, *arguments, "--json").stdout)


MACHINE = ("connection", "commits", "disk")
"""What these find is this machine's doing, not the daemon's."""


# -- doctor ------------------------------------------------------------------------------------------------------------


def test_a_daemon_that_is_well_is_told_so_in_a_line_for_each_check(daemon: Daemon) -> None:
    periodic(daemon, "submit", "f", "a", "--in", "1h")
    ended = periodic(daemon, "doctor", "--json")
    told = json.loads(ended.stdout)
    unwell = [each for each in told["findings"] if each["verdict"] != "ok" and each["check"] not in MACHINE]
    assert unwell == []
    assert all((each["todo"] is None) == (each["verdict"] == "ok") for each in told["findings"])
    lines = periodic(daemon, "doctor").stdout.splitlines()
    assert [line[7:21].strip() for line in lines] == [each["check"] for each in told["findings"]]
    assert {"connection", "versions", "clock", "store", "wal", "disk", "locks", "schedules"} <= set(verdicts(ended))


def test_scripts_are_told_by_the_exit_code(daemon: Daemon) -> None:
    periodic(daemon, "pause", "f")
    periodic(daemon, "submit", "f", "a")
    ended = periodic(daemon, "doctor", "--json")
    assert verdicts(ended)["paused"] == "watch"
    if set(verdicts(ended).values()) == {"ok", "watch"}:
        assert (ended.returncode, json.loads(ended.stdout)["verdict"]) == (1, "watch")
    periodic(daemon, "function", "set", "g", "--queue-max", "1")
    periodic(daemon, "submit", "g", "a", "--in", "1h")
    ended = periodic(daemon, "doctor")
    assert ended.returncode == 2
    line = next(line for line in ended.stdout.splitlines() if " queues " in line)
    assert line.startswith("bad ")
    assert " -> " in line
    daemon.stop()
    ended = periodic(daemon, "doctor", "--json")
    assert (ended.returncode, verdicts(ended)) == (2, {"connection": "bad"})


def test_the_line_at_a_lock_and_who_holds_it_are_looked_at(daemon: Daemon) -> None:
    for name in ("a", "b"):
        periodic(daemon, "submit", "f", name, "--lock", "k")
    (run,) = said(daemon, "take", "f", "--max", "2", "--lease", "1h")
    (found,) = (each for each in said(daemon, "doctor")["findings"] if each["check"] == "locks")
    assert (found["verdict"], found["found"]) == ("ok", "1 with somebody in line, none held for 10m")
    periodic(daemon, "finish", run["handle"])


def test_the_dead_of_the_last_hour_are_counted_and_none_is_requeued(daemon: Daemon) -> None:
    for name in ("a", "b"):
        periodic(daemon, "submit", "f", name)
        (run,) = said(daemon, "take", "f")
        periodic(daemon, "finish", run["handle"], "--failed", "no way", "--final")
    assert verdicts(periodic(daemon, "doctor", "--json"))["dead"] == "watch"
    assert [job["state"] for job in said(daemon, "list")] == ["dead", "dead"]


# -- the dead ----------------------------------------------------------------------------------------------------------


async def dead(daemon: Daemon, reasons: dict[str, str], func: str = "f") -> None:
    """A dead job for each name."""
    async with Client(daemon.url) as client:
        for name, reason in reasons.items():
            await client.submit(NewJob(func, name))
            (run,) = await client.take(func)
            await client.finish(run.handle, Failed(reason, final=True))


async def test_what_the_dead_died_of_is_told_by_function_and_reason(daemon: Daemon) -> None:
    assert said(daemon, "dead") == {"count": 0, "groups": [], "others": 0}
    await dead(daemon, {"a": "no such file: 1.jpg\ndetails", "b": "disk full", "c": "no such file: 22.jpg"})
    await dead(daemon, {"a": "disk full"}, "it's g")
    found = said(daemon, "dead")
    told = [[each[key] for key in ("func", "reason", "count", "name")] for each in found["groups"]]
    assert told == [
        ["f", "no such file: #.jpg", 2, "c"], ["f", "disk full", 1, "b"], ["it's g", "disk full", 1, "a"],
    ]  # fmt: skip
    assert found["groups"][0]["first_at_ms"] <= found["groups"][0]["last_at_ms"]
    assert [each["func"] for each in said(daemon, "dead", "--func", "it's g")["groups"]] == ["it's g"]
    titles, row, *_ = (line.split("\t") for line in periodic(daemon, "dead").stdout.splitlines())
    assert titles == ["count", "func", "reason", "first", "last", "name"]
    assert row[:3] == ["2", "f", "no such file: #.jpg"]


def failing(daemon: Daemon, names: list[str]) -> Worker:
    """Whose jobs die, and which those were."""
    worker = Worker(daemon.url)

    @worker.function("f", limit=9)
    async def f(job: Job) -> Failed:
        names.append(job.name)
        return Failed("disk full", final=True)

    return worker


async def test_a_mass_requeue_comes_one_by_one(daemon: Daemon) -> None:
    await dead(daemon, dict.fromkeys("abcd", "disk full") | {"other": "bad picture"})
    names: list[str] = []
    worker = failing(daemon, names)
    which = ("--where", "func=f", "--where", "reason=disk full")
    async with trio.open_nursery() as nursery:
        await nursery.start(worker.run)
        ended = await trio.to_thread.run_sync(
            lambda: periodic(daemon, "requeue", *which, "--every", "20ms", "--yes", "--json")
        )
        worker.stop()
    assert (ended.returncode, json.loads(ended.stdout)) == (0, {"count": 4}), ended.stderr
    assert names == ["a", "b", "c", "d"]
    assert [job["state"] for job in said(daemon, "list")] == ["dead"] * 5
    assert said(daemon, "requeue", *which, "--every", "1h", "--dry-run") == {"count": 4}


async def test_a_spread_requeue_leaves_alone_what_dies_again(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    await dead(daemon, dict.fromkeys("abcd", "disk full"))
    monkeypatch.setattr(limits, "LISTING_MAX", 1)
    names: list[str] = []
    counts: list[int] = []
    worker = failing(daemon, names)
    async with trio.open_nursery() as nursery, Client(daemon.url) as client:
        await nursery.start(worker.run)
        with trio.fail_after(30):
            assert await _one_by_one(20, client, progress=counts.append, all=True) == 4
        worker.stop()
    assert (counts, names) == ([1, 2, 3, 4], ["a", "b", "c", "d"])


async def test_a_spread_requeue_that_is_interrupted_leaves_the_rest_dead_and_goes_on_when_given_again(
    daemon: Daemon,
) -> None:
    await dead(daemon, dict.fromkeys("abc", "disk full"))
    arguments = ("--url", daemon.url, "requeue", "--where", "state=dead", "--every", "1h", "--yes")
    command = [sys.executable, "-m", "periodic_client", *arguments]
    async with Client(daemon.url) as client:
        before = await client.events_page()
        process = await trio.lowlevel.open_process(command, stderr=subprocess.PIPE)
        (event,) = (await client.events_page(before.next, kinds=["requeued"], wait_s=30)).events
        assert event["name"] == "a"
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        told = b"".join([piece async for piece in process.stderr]).decode()
        assert await process.wait() == 130
        # It may not have read the answer by then.
        assert re.search(r"[01] were requeued before, and up to 1 more may have been", told)
        assert [job["name"] async for job in client.list("f", "dead")] == ["b", "c"]
    ended = periodic(daemon, "requeue", "--where", "state=dead", "--every", "1ms", "--yes")
    assert (ended.returncode, ended.stdout) == (0, "requeued: 2\n")
    assert said(daemon, "dead")["count"] == 0


def test_spreading_single_jobs_is_refused(daemon: Daemon) -> None:
    ended = periodic(daemon, "requeue", "f", "a", "--every", "1s")
    assert ended.returncode == 2
    assert "--every goes with --where or --all" in ended.stderr


def test_the_page_s_incident_is_mended_by_what_it_says(daemon: Daemon) -> None:
    """The lock, from its shell that is gone to the line that moves; the others are started, and requeued, above."""
    for name in ("shop7", "shop7-prices"):
        periodic(daemon, "submit", "sync-stock", name, "--lock", "shop7")
    (run,) = said(daemon, "take", "sync-stock", "--max", "2", "--lease", "1h")
    assert run["name"] == "shop7"
    lines = [shlex.split(line) for line in re.findall(r"^    periodic (.*)$", incident(), re.MULTILINE)]
    explain, show, end_run = (
        next(line for line in lines if line[0] == command) for command in ("explain", "lock", "end-run")
    )
    assert "lock shop7: it wants 1, and of 1 there are 0 free" in periodic(daemon, *explain).stdout.splitlines()
    assert "sync-stock\tshop7\t1" in periodic(daemon, *show).stdout
    assert periodic(daemon, *end_run).stdout == "shop7: ended\n"
    taken = said(daemon, "take", "sync-stock", "--max", "2")
    assert [each["name"] for each in taken][:1] == ["shop7-prices"]


def test_the_page_shows_every_check_of_doctor_and_every_line_that_top_has(daemon: Daemon) -> None:
    shown = re.findall(r"^(?:ok|watch|bad) +([a-z' ]+?)  ", incident(), re.MULTILINE)
    checks = list(verdicts(periodic(daemon, "doctor", "--json")))
    assert shown[: len(checks)] == checks
    assert KEYS in incident().splitlines()


def incident() -> str:
    page = (Path(__file__).parents[2] / "docs/operating.md").read_text()
    return page.split("\n## An incident\n")[1].split("\n## ")[0]
