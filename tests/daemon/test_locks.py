"""Locks from outside: the commands, the library, and a daemon that is killed while runs hold some."""

import json
from typing import Any

import pytest

from periodic_client import Client, Done, Invalid, Later, NewJob, Rate
from rig.daemon import Daemon
from tests.daemon.command import periodic


def said(daemon: Daemon, *arguments: str) -> Any:
    return json.loads(periodic(daemon, *arguments, "--json").stdout)


def in_line(daemon: Daemon) -> str:
    """Takes the lock `k` by a run, and leaves two jobs in line. Returns the handle of the run."""
    for name in "abc":
        periodic(daemon, "submit", "f", name, "--lock", "k")
    # With room for all three: who finds none only waits.
    (run,) = said(daemon, "take", "f", "--max", "3", "--lease", "1h")
    return str(run["handle"])


# -- the commands ------------------------------------------------------------------------------------------------------


def test_what_is_set_is_shown_and_survives_a_kill(daemon: Daemon) -> None:
    ended = periodic(daemon, "lock", "set", "k", "--capacity", "4", "--rate", "10/1s")
    assert (ended.returncode, ended.stdout) == (0, 'before: {"capacity": 1, "rate": null}\n')
    daemon.kill()
    daemon.start()
    rate = {"count": 10, "per_ms": 1_000}
    shown = {
        "lock": "k", "capacity": 4, "rate": rate, "used": 0, "parked": 0, "holder_count": 0, "holders": [],
    }  # fmt: skip
    assert said(daemon, "lock", "show", "k") == shown
    assert said(daemon, "locks") == [shown]
    assert said(daemon, "lock", "set", "k") == {"before": {"capacity": 4, "rate": rate}}
    ended = periodic(daemon, "lock", "show", "k")
    assert (ended.returncode, ended.stdout) == (3, "")
    assert ended.stderr == "periodic: there is no lock k: nobody holds it or waits for it, and nothing is set\n"
    assert periodic(daemon, "lock", "show", "k", "--json").stdout == "null\n"
    assert said(daemon, "locks") == []


def test_who_holds_it_and_how_many_stand_in_line(daemon: Daemon) -> None:
    periodic(daemon, "lock", "set", "ka", "--capacity", "2")
    handle = in_line(daemon)
    lines = periodic(daemon, "lock", "show", "k").stdout.splitlines()
    assert lines[:3] == ["lock: k", "capacity: 1", "rate: -"]
    assert "parked: 2" in lines
    assert lines[-2].split("\t") == ["func", "name", "id", "run", "weight", "started"]
    assert lines[-1].split("\t")[:2] == ["f", "a"]
    (holder,) = said(daemon, "lock", "show", "k")["holders"]
    assert (holder["name"], holder["weight"]) == ("a", 1)
    table = [line.split("\t") for line in periodic(daemon, "locks").stdout.splitlines()]
    assert table == [
        ["lock", "capacity", "used", "holder_count", "parked", "rate"],
        ["k", "1", "1", "1", "2", "-"],
        ["ka", "2", "0", "0", "0", "-"],
    ]
    assert [each["lock"] for each in said(daemon, "locks", "--prefix", "ka")] == ["ka"]
    titles, row = (line.split("\t") for line in periodic(daemon, "status").stdout.splitlines()[-2:])
    assert row[titles.index("parked")] == "2"
    assert said(daemon, "get", "f", "b")["locks"] == {"k": 1}
    periodic(daemon, "finish", handle)
    (run,) = said(daemon, "take", "f")
    assert run["name"] == "b"


def test_those_that_stand_in_line_are_meant_by_their_state(daemon: Daemon) -> None:
    handle = in_line(daemon)
    parked = ("--where", "state=parked")
    assert [job["name"] for job in said(daemon, "list", *parked)] == ["b", "c"]
    assert periodic(daemon, "move", *parked, "--priority", "-1", "--yes").stdout == "moved: 2\n"
    assert said(daemon, "take", "f", "--max", "3", "--wait", "50ms") == []
    assert [job["priority"] for job in said(daemon, "list", *parked)] == [-1, -1]
    assert periodic(daemon, "cancel", *parked, "--where", "prefix=b", "--yes").stdout == "cancelled: 1\n"
    assert periodic(daemon, "remove", *parked, "--yes").stdout == "removed: 1\n"
    assert said(daemon, "lock", "show", "k")["parked"] == 0
    assert periodic(daemon, "finish", handle).returncode == 0


def test_after_a_kill_nobody_holds_it_beside_who_held_it_before(daemon: Daemon) -> None:
    handle = in_line(daemon)
    daemon.kill()
    daemon.start()
    assert periodic(daemon, "take", "f", "--wait", "300ms").returncode == 3
    assert [each["name"] for each in said(daemon, "lock", "show", "k")["holders"]] == ["a"]
    assert periodic(daemon, "finish", handle).returncode == 0
    (run,) = said(daemon, "take", "f")
    assert run["name"] == "b"


@pytest.mark.parametrize("lock", ["", "=3"])
def test_a_lock_without_a_name_is_told_before_the_daemon_is_asked(daemon: Daemon, lock: str) -> None:
    ended = periodic(daemon, "submit", "f", "a", "--lock", lock)
    assert (ended.returncode, f"{lock!r} is not a lock such as disk or disk=2" in ended.stderr) == (2, True)


def test_a_weight_out_of_range_is_told(daemon: Daemon) -> None:
    ended = periodic(daemon, "submit", "f", "a", "--lock", "k=0")
    assert (ended.returncode, "locks" in ended.stderr) == (1, True)


# -- the library -------------------------------------------------------------------------------------------------------


async def test_the_library(daemon: Daemon) -> None:
    async with Client(daemon.url) as client:
        await client.set_lock("k", capacity=3, rate=Rate(100, 1_000))
        for name in "ab":
            await client.submit(NewJob("f", name, locks={"k": 2, "other=1": 1}))
        job = await client.get("f", "a")
        assert job is not None
        assert job["locks"] == {"k": 2, "other=1": 1}
        (run,) = await client.take("f", max=2)
        assert [job["name"] async for job in client.list(state="parked")] == ["b"]
        (k,) = [lock async for lock in client.locks("k")]
        assert (k["capacity"], k["rate"], k["used"], k["parked"]) == (3, {"count": 100, "per_ms": 1_000}, 2, 1)
        assert [(each["name"], each["weight"]) for each in k["holders"]] == [("a", 2)]
        assert [lock["lock"] async for lock in client.locks()] == ["k", "other=1"]
        await client.finish(run.handle, Later(locks={"k": 1}))
        (run, other) = [*await client.take("f"), *await client.take("f")]
        assert {run.name, other.name} == {"a", "b"}
        job = await client.get("f", "a")
        assert job is not None
        assert job["locks"] == {"k": 1}
        await client.set_lock("k")
        for each in (run, other):
            await client.finish(each.handle, Done())
        assert [lock async for lock in client.locks()] == []
        with pytest.raises(Invalid, match="locks"):
            await client.submit(NewJob("f", "c", locks={"k": 0}))
