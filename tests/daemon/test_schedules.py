"""Schedules from outside: the commands, the library, and a daemon that is killed at their instants."""

import json
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import trio

from periodic_client import (
    CannotConnect,
    Client,
    ConnectionLost,
    Fired,
    Invalid,
    LeaseLost,
    Scheduled,
    ScheduledJob,
    TimedOut,
)
from rig.daemon import Daemon
from tests.daemon.command import periodic


def said(daemon: Daemon, *arguments: str) -> Any:
    return json.loads(periodic(daemon, *arguments, "--json").stdout)


# -- the commands ------------------------------------------------------------------------------------------------------


def test_what_is_set_is_shown_and_survives_a_kill(daemon: Daemon) -> None:
    nightly = ("schedule", "add", "nightly", "report", "--cron", "30 2 * * *", "--zone", "Europe/Berlin", "-w", "all")
    ended = periodic(daemon, *nightly)
    result, following = ended.stdout.splitlines()
    assert (ended.returncode, result) == (0, "result: created")
    assert said(daemon, "schedule", "add", "night", "report", "--every", "1h30m")["result"] == "created"
    daemon.kill()
    daemon.start()
    assert said(daemon, *nightly)["result"] == "kept"
    at = following.removeprefix("next: ")
    assert datetime.fromisoformat(at).astimezone(ZoneInfo("Europe/Berlin")).strftime("%H:%M") == "02:30"
    titles, night, row = (line.split("\t") for line in periodic(daemon, "schedule", "list").stdout.splitlines())
    assert titles == ["schedule", "func", "when", "next", "last_id", "paused"]
    assert row == ["nightly", "report", "30 2 * * * Europe/Berlin", at, "-", "false"]
    assert night[:3] == ["night", "report", "every 1h30m"]
    assert [each["schedule"] for each in said(daemon, "schedule", "list", "--prefix", "nightl")] == ["nightly"]
    assert "from: -" in periodic(daemon, "schedule", "show", "nightly").stdout.splitlines()
    shown = said(daemon, "schedule", "show", "night")
    assert (shown["schedule"], shown["job"], shown["every_ms"]) == ("night", {"func": "report"}, 5_400_000)
    assert said(daemon, *nightly, "--priority", "3")["result"] == "replaced"
    assert periodic(daemon, "schedule", "remove", "nightly").stdout == "removed\n"
    ended = periodic(daemon, "schedule", "show", "nightly")
    assert (ended.returncode, ended.stdout) == (3, "")
    assert ended.stderr == "periodic: schedule nightly does not exist\n"


def test_one_is_paused_resumed_and_run(daemon: Daemon) -> None:
    periodic(daemon, "schedule", "add", "s", "f", "--every", "1h", "-w", "w")
    assert len(periodic(daemon, "schedule", "next", "s", "--count", "3").stdout.splitlines()) == 3
    assert periodic(daemon, "schedule", "pause", "s").stdout == "paused\n"
    ended = periodic(daemon, "schedule", "next", "s")
    assert (ended.returncode, ended.stdout) == (0, "")
    assert ended.stderr == "periodic: schedule s is paused, or will not fire again\n"
    fired = said(daemon, "schedule", "run", "s")
    assert (fired["result"], said(daemon, "schedule", "show", "s")["last_id"]) == ("fired", fired["id"])
    ended = periodic(daemon, "schedule", "run", "s")
    assert (ended.returncode, ended.stdout) == (1, "left_out\n")
    assert ended.stderr.startswith("periodic: schedule s did not fire: its last job waits or runs")
    (run,) = said(daemon, "take", "f")
    assert (run["name"].split("@")[0], run["workload"]) == ("s", "w")
    assert periodic(daemon, "schedule", "resume", "s").stdout == "resumed\n"
    assert said(daemon, "schedule", "next", "s")["result"] == "found"


@pytest.mark.parametrize("command", ["remove", "pause", "resume", "run", "next"])
def test_what_is_not_there_is_exit_code_3(daemon: Daemon, command: str) -> None:
    ended = periodic(daemon, "schedule", command, "s")
    assert (ended.returncode, ended.stderr) == (3, "periodic: schedule s does not exist\n")


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--cron", "60 * * * *"), "options.cron has the minute '60', which is not made of 0 to 59"),
        (("--cron", "0 0 31 2 *"), "options.cron never fires: there is no such day"),
        (("--cron", "* * * * *", "--zone", "Berlin"), "options.zone is no name of an IANA time zone"),
        (("--every", "10ms"), "options.every_ms is an integer from 1,000"),
    ],
)
def test_what_is_wrong_with_one_is_said(daemon: Daemon, options: tuple[str, ...], why: str) -> None:
    ended = periodic(daemon, "schedule", "add", "s", "f", *options)
    assert (ended.returncode, ended.stdout, why in ended.stderr) == (1, "", True), ended.stderr


@pytest.mark.parametrize("zone", [None, "Europe/Berlin"])
def test_instants_are_those_of_the_zone_whatever_the_daemon_and_the_command_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zone: str | None
) -> None:
    """Over two years, so over all changes of the clocks."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    with Daemon(tmp_path, env={"TZ": "America/New_York"}) as daemon:
        of_zone = ("--zone", zone) if zone else ()
        periodic(daemon, "schedule", "add", "s", "f", "--cron", "30 12 * * sun", *of_zone)
        times = said(daemon, "schedule", "next", "s", "--count", "100")["times"]
        lines = periodic(daemon, "schedule", "next", "s", "--count", "100").stdout.splitlines()
    assert [round(datetime.fromisoformat(line).timestamp() * 1000) for line in lines] == times
    assert all(line.endswith("+09:00") for line in lines), "people are shown their own time"
    local = [
        datetime.fromtimestamp(at_ms / 1000, ZoneInfo(zone) if zone else UTC).replace(tzinfo=None) for at_ms in times
    ]
    assert (local[0].isoweekday(), local[0].strftime("%H:%M")) == (7, "12:30")
    assert local == [local[0] + timedelta(weeks=week) for week in range(100)]


# -- the library -------------------------------------------------------------------------------------------------------


async def test_the_library(daemon: Daemon) -> None:
    async with Client(daemon.url) as client:
        job = ScheduledJob("f", "w", headers={"a": "b"}, lease_ms=5_000)
        scheduled = await client.set_schedule("s", job, every_ms=3_600_000, overlap="queue")
        assert scheduled.result == "created"
        times = await client.next_times("s", 2)
        assert times is not None
        assert times == [scheduled.next_at_ms, times[0] + 3_600_000]
        (listed,) = [schedule async for schedule in client.schedules("s")]
        assert listed["job"] == {"func": "f", "headers": {"a": "b"}, "lease_ms": 5_000}
        assert (listed["overlap"], listed["missed"], listed["paused"]) == ("queue", "skip", False)
        assert await client.pause_schedule("s") == "paused"
        assert await client.next_times("s") == []
        assert await client.resume_schedule("s") == "resumed"
        fired = await client.run_schedule("s")
        assert fired.result == "fired"
        (run,) = await client.take("f")
        assert (run.name.split("@")[0], run.workload, run.headers) == ("s", b"w", {"a": "b"})
        daemon.kill()
        daemon.start()
    async with Client(daemon.url) as client:
        assert await client.set_schedule("s", job, every_ms=3_600_000, overlap="queue") == ("kept", times[0])
        assert await client.remove_schedule("s") == "removed"
        assert await client.run_schedule("s") == Fired("absent", None)
        assert await client.next_times("s") is None
        with pytest.raises(Invalid, match=r"options\.job\.workload has 16,385 bytes"):
            await client.set_schedule("s", ScheduledJob("f", b"x" * 16_385), every_ms=1_000)


# -- a daemon that is killed -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("every_ms", "after_ms"),
    [(1_000, [0, 1, 2, 4, 8]), (4_000, [None] * 3)],
    ids=["at the next instant", "when its job is done, and back before the next instant"],
)
async def test_no_instant_fires_twice_over_kills(daemon: Daemon, every_ms: int, after_ms: list[int | None]) -> None:
    """A job may be given out twice; one that is submitted twice has another id the second time."""
    seen: dict[str, set[int]] = {}
    news = trio.Event()

    async def work(client: Client) -> None:
        nonlocal news
        while True:
            with suppress(CannotConnect, ConnectionLost, TimedOut, LeaseLost):
                for run in await client.take("tick", wait_s=10):
                    job = await client.get("tick", run.name)
                    assert job is not None
                    seen.setdefault(run.name, set()).add(job["id"])
                    await client.finish(run.handle)
                    news.set()
                    news = trio.Event()
            await trio.sleep(0.01)

    async def set_again(client: Client) -> Scheduled:
        return await client.set_schedule("tick", ScheduledJob("tick"), every_ms=every_ms, overlap="queue")

    with trio.fail_after(120):
        async with Client(daemon.url) as client, trio.open_nursery() as nursery:
            first_at_ms = (await set_again(client)).next_at_ms
            assert first_at_ms is not None
            nursery.start_soon(work, client)
            for each_ms in after_ms:
                await news.wait()
                scheduled = await set_again(client)
                assert (scheduled.result, scheduled.next_at_ms is None) == ("kept", False), "the daemon came with it"
                if each_ms is not None:
                    await trio.sleep(((scheduled.next_at_ms or 0) + each_ms) / 1000 - time.time())
                daemon.kill()
                daemon.start()
            await news.wait()
            nursery.cancel_scope.cancel()
    async with Client(daemon.url) as client:
        async for job in client.list("tick"):
            seen.setdefault(job["name"], set()).add(job["id"])
    assert {name: ids for name, ids in seen.items() if len(ids) > 1} == {}
    assert len(seen) > len(after_ms)
    for name in seen:
        at_ms = round(datetime.fromisoformat(name.removeprefix("tick@")).timestamp() * 1000)
        assert (at_ms - first_at_ms) % every_ms == 0, "it is an instant of the schedule"
