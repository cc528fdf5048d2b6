"""Groups from outside: the library, the commands, and a daemon that is killed while one is open."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from periodic_client import Client, Done, Failed, Full, FunctionSettings, Group, NewJob, Submitted, SubmittedGroup
from rig.daemon import Daemon
from tests.daemon.command import periodic

# -- the library -------------------------------------------------------------------------------------------------------


async def test_the_library(daemon: Daemon) -> None:
    async with Client(daemon.url) as client:
        then = NewJob("told", "all")
        submitted = await client.submit_group(then, [NewJob("f", "a")], sealed=False)
        assert submitted == SubmittedGroup("created", 1, [Submitted("created", 2)])
        assert (await client.submit_group(then, [NewJob("f", "b")])).result == "added"
        assert (await client.submit_group(then, [NewJob("f", "c")])) == SubmittedGroup("kept", 1, [])
        assert [job["name"] async for job in client.list(group_id=1)] == ["a", "b"]
        a, b = await client.take("f", max=2)
        await client.finish(a.handle, Done(submit=[NewJob("g", "a", join_group=True), NewJob("h", "a")]))
        await client.finish(b.handle, Failed("why", final=True))
        group = (await client.look("told", "all")).group
        assert group is not None
        assert (group["members"], group["open"], group["done"], group["dead"]) == (3, 1, 1, 1)
        assert await client.cancel_matching(group_id=1) == 1
        (told,) = await client.take("told")
        assert told.group == Group(3, done=1, dead=1, removed=0, cancelled=1, expired=0)
        assert (await client.look("told", "all")).group is None


async def test_the_follow_ons_of_a_run_are_a_group(daemon: Daemon) -> None:
    async with Client(daemon.url) as client:
        await client.submit(NewJob("f", "a"))
        (run,) = await client.take("f")
        await client.finish(run.handle, Done(submit=[NewJob("g", "a")], then=NewJob("told", "a")))
        (run,) = await client.take("g", "told", max=2)
        assert (run.func, run.group) == ("g", None)
        await client.finish(run.handle)
        (told,) = await client.take("told")
        assert told.group == Group(1, done=1, dead=0, removed=0, cancelled=0, expired=0)


async def test_a_function_that_would_have_too_many_jobs_takes_none_of_a_group(daemon: Daemon) -> None:
    async with Client(daemon.url) as client:
        await client.set_function("f", FunctionSettings(queue_max=1))
        with pytest.raises(Full, match="queue_max"):
            await client.submit_group(NewJob("told", "all"), [NewJob("f", "a"), NewJob("f", "b")])
        assert [job async for job in client.list()] == []


# -- the commands ------------------------------------------------------------------------------------------------------


def said(daemon: Daemon, *arguments: str, stdin: str = "") -> Any:
    return json.loads(periodic(daemon, *arguments, "--json", stdin=stdin).stdout)


def lines(names: Iterable[str], **more: Any) -> str:
    return "".join(json.dumps({"func": "f", "name": name, **more}) + "\n" for name in names)


def finish(daemon: Daemon, func: str, *how: str) -> str:
    """Takes a job and ends it; returns its name."""
    (run,) = said(daemon, "take", func)
    assert periodic(daemon, "finish", run["handle"], *how).returncode == 0
    return str(run["name"])


def test_members_come_from_a_file_and_get_shows_how_far_they_are(daemon: Daemon, tmp_path: Path) -> None:
    file = tmp_path / "jobs"
    file.write_text(
        lines("ab", workload="w", retry={"limit": 0}) + '\n{"func": "f", "name": "c", "workload_base64": "/w=="}'
    )
    ended = periodic(
        daemon, "submit-group", "told", "all", "--jobs", str(file), "--header", "of=these", "--lease", "1m"
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "created\n", "")
    assert [job["name"] for job in said(daemon, "list", "--where", "group_id=1")] == ["a", "b", "c"]
    assert [said(daemon, "get", "f", name, "--workload").get("workload") for name in "abc"] == ["w", "w", None]
    finish(daemon, "f")
    finish(daemon, "f", "--failed", "why", "--final")
    shown = periodic(daemon, "get", "told", "all").stdout.splitlines()
    assert {"state: parked", "group_members: 3", "group_open: 1", "group_done: 1", "group_dead: 1"} <= set(shown)
    assert said(daemon, "get", "told", "all")["group"]["open"] == 1
    assert said(daemon, "get", "f", "c")["group"] is None
    assert periodic(daemon, "cancel", "--where", "group_id=1", "--yes").stdout == "cancelled: 1\n"
    (told,) = said(daemon, "take", "told")
    assert told["headers"] == {
        "of": "these", "group-members": "3", "group-done": "1", "group-dead": "1", "group-removed": "0",
        "group-cancelled": "1",
        "group-expired": "0",
    }  # fmt: skip


def test_more_are_added_until_it_is_sealed(daemon: Daemon) -> None:
    group = ("submit-group", "told", "all")
    assert periodic(daemon, *group, "--jobs", "-", "--no-seal", stdin=lines("a")).stdout == "created\n"
    answer = said(daemon, *group, "--jobs", "-", "--no-seal", stdin=lines("b"))
    assert answer == {"func": "told", "name": "all", "result": "added", "id": 1, "results": ["created"], "ids": [4]}
    assert [finish(daemon, "f"), finish(daemon, "f")] == ["a", "b"]
    assert periodic(daemon, "take", "told", "--wait", "0s").returncode == 3
    assert periodic(daemon, *group).stdout == "added\n"
    assert finish(daemon, "told") == "all"
    assert periodic(daemon, *group).stdout == "created\n"
    assert finish(daemon, "told") == "all", "without members it has finished"


def test_what_was_not_put_is_told(daemon: Daemon) -> None:
    group = ("submit-group", "told", "all", "--jobs", "-")
    periodic(daemon, "submit", "f", "a", "--in", "1h")
    ended = periodic(daemon, *group, stdin=lines("ab", existing="keep"))
    assert (ended.returncode, ended.stdout) == (0, "created\n")
    assert ended.stderr == "periodic: 1 jobs were there already, and are no members\n"
    ended = periodic(daemon, *group, stdin=lines("bc"))
    assert (ended.returncode, ended.stdout) == (0, "kept\n")
    assert ended.stderr == "periodic: 2 jobs were not put: the group is sealed\n"
    ended = periodic(daemon, "submit-group", "f", "a", "--existing", "refuse", "--jobs", "-", stdin=lines("x"))
    assert (ended.returncode, ended.stdout) == (1, "refused\n")
    assert [job["name"] for job in said(daemon, "list", "--where", "func=f")] == ["a", "b"]


def test_more_than_a_thousand_are_put_a_thousand_at_a_time(daemon: Daemon) -> None:
    many = lines(f"{number:04}" for number in range(2_345))
    assert periodic(daemon, "submit-group", "told", "all", "--jobs", "-", stdin=many).stdout == "created\n"
    group = said(daemon, "get", "told", "all")["group"]
    assert (group["sealed"], group["members"], group["open"]) == (True, 2_345, 2_345)
    wrong = lines(f"more-{number}" for number in range(1_500)) + lines(["x"], due=1)
    ended = periodic(daemon, "submit-group", "told", "more", "--jobs", "-", stdin=wrong)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "did you mean due_at_ms? (line 1501)" in ended.stderr
    assert "periodic: 1000 jobs were put before; the group waits for more\n" in ended.stderr
    assert said(daemon, "get", "told", "more")["group"]["sealed"] is False


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{", "line 2 is not a job in JSON: Expecting"),
        ("[]", "line 2 is not a job in JSON, as "),
        ("1", "line 2 is not a job in JSON"),
        ('{"func": "f", "name": "b", "workload_base64": "?"}', "line 2 is not a job in JSON"),
        ("[" * 100_000, "line 2 is not a job in JSON"),
    ],
)
def test_a_line_that_is_no_job_is_named_before_anything_is_put(daemon: Daemon, line: str, complaint: str) -> None:
    ended = periodic(daemon, "submit-group", "told", "all", "--jobs", "-", stdin=lines("a") + line)
    assert (ended.returncode, complaint in ended.stderr) == (2, True), ended.stderr
    assert said(daemon, "list") == []


@pytest.mark.parametrize("more", [{"due": 1}, {"priority": 10**30}, {"workload": "\ud800"}, {"priority": float("nan")}])
def test_a_job_that_the_daemon_refuses_is_named_by_its_line(daemon: Daemon, more: dict[str, Any]) -> None:
    ended = periodic(daemon, "submit-group", "told", "all", "--jobs", "-", stdin=lines("a") + lines("b", **more))
    assert (ended.returncode, ended.stdout) == (1, ""), ended.stderr
    assert ended.stderr.startswith("periodic: INVALID")
    assert said(daemon, "list") == []


def test_a_group_that_is_open_when_the_daemon_is_killed_is_told_once(daemon: Daemon) -> None:
    # Who holds a lock is known to a daemon that was killed a moment after; another run may be given out again.
    periodic(daemon, "submit-group", "told", "all", "--jobs", "-", stdin=lines("abc", locks={"k": 1}))
    finish(daemon, "f")
    (run,) = said(daemon, "take", "f", "--lease", "1h")
    daemon.kill()
    daemon.start()
    assert periodic(daemon, "take", "told", "--wait", "0s").returncode == 3
    assert periodic(daemon, "finish", run["handle"]).returncode == 0
    daemon.kill()
    daemon.start()
    assert said(daemon, "get", "told", "all")["group"]["open"] == 1
    finish(daemon, "f")
    daemon.kill()
    daemon.start()
    (told,) = said(daemon, "take", "told")
    assert (told["attempt"], told["headers"]["group-done"]) == (1, "3")
    assert periodic(daemon, "finish", told["handle"]).returncode == 0
    daemon.kill()
    daemon.start()
    assert periodic(daemon, "take", "told", "--wait", "300ms").returncode == 3
    assert said(daemon, "list") == []
