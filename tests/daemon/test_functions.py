"""What is set of functions, from outside: the commands, the library, and a daemon that is killed after it answered."""

import json

import pytest

from periodic_client import Client, Full, FunctionSettings, NewJob, Rate, Retry
from rig.daemon import Daemon
from tests.daemon.command import periodic


def shown(daemon: Daemon, func: str = "f") -> dict[str, object]:
    function: dict[str, object] = json.loads(periodic(daemon, "function", "show", func, "--json").stdout)
    return function


def test_what_is_set_is_shown_and_survives_a_kill(daemon: Daemon) -> None:
    options = ("--rate", "10/1s", "--running-max", "2", "--queue-max", "9", "--lease", "5m", "--retry-limit", "3")
    ended = periodic(daemon, "function", "set", "f", *options)
    assert (ended.returncode, ended.stdout) == (0, "before: nothing\n")
    assert periodic(daemon, "pause", "f").stdout == "f is paused\n"
    daemon.kill()
    daemon.start()
    function = shown(daemon)
    assert function["paused"] is True
    settings = function["settings"]
    assert isinstance(settings, dict)
    assert settings["retry"]["limit"] == 3
    assert settings | {"retry": None} == {
        "running_max": 2, "rate": {"count": 10, "per_ms": 1_000}, "queue_max": 9, "lease_ms": 300_000, "retry": None,
    }  # fmt: skip
    assert periodic(daemon, "resume", "f").stdout == "f is not paused\n"
    ended = periodic(daemon, "function", "set", "f", "--json")
    assert json.loads(ended.stdout) == {"before": settings}
    ended = periodic(daemon, "function", "show", "f")
    assert (ended.returncode, ended.stdout) == (3, "")
    assert ended.stderr == "periodic: there is no function f: no job, no worker, and nothing set\n"


def test_a_submit_of_one_more_is_refused_in_words(daemon: Daemon) -> None:
    periodic(daemon, "function", "set", "f", "--queue-max", "1")
    assert periodic(daemon, "submit", "f", "a").stdout == "created\n"
    ended = periodic(daemon, "submit", "f", "b")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == "periodic: FULL: f has as many jobs as its queue_max allows; try later\n"


def test_drop_says_how_many_and_asks(daemon: Daemon) -> None:
    for name in "ab":
        periodic(daemon, "submit", "f", name)
    periodic(daemon, "submit", "g", "a")
    assert periodic(daemon, "drop", "f", "--dry-run").stdout == "2\n"
    ended = periodic(daemon, "drop", "f")
    assert (ended.returncode, "give --yes, or --dry-run" in ended.stderr) == (2, True)
    assert periodic(daemon, "drop", "f", "--yes").stdout == "removed: 2\n"
    assert periodic(daemon, "get", "f", "a").returncode == 3
    assert periodic(daemon, "get", "g", "a").returncode == 0


@pytest.mark.parametrize("rate", ["10", "10/", "/1s", "x/1s", "10/x"])
def test_a_rate_that_is_none_is_told_before_the_daemon_is_asked(daemon: Daemon, rate: str) -> None:
    ended = periodic(daemon, "function", "set", "f", "--rate", rate)
    assert (ended.returncode, f"{rate!r} is not a rate such as 10/1s" in ended.stderr) == (2, True)


async def test_the_library(daemon: Daemon) -> None:
    async with Client(daemon.url) as client:
        settings = FunctionSettings(rate=Rate(3, 500), queue_max=1, retry=Retry(limit=2), result_ms=0)
        await client.set_function("f", settings)
        await client.pause("f")
        await client.submit(NewJob("f", "a"))
        with pytest.raises(Full):
            await client.submit(NewJob("f", "b"))
        assert [each.result for each in await client.submit_batch([NewJob("f", "b")])] == ["full"]
        (function,) = [each async for each in client.functions()]
        assert (function["paused"], function["settings"]["rate"]) == (True, {"count": 3, "per_ms": 500})
        job = await client.get("f", "a")
        assert job is not None
        assert job["retry"]["limit"] == 2
        await client.resume("f")
        await client.set_function("f")
        (function,) = [each async for each in client.functions()]
        assert (function["paused"], function["settings"]) == (False, {})


def test_why_a_job_does_not_run_is_said_in_sentences(daemon: Daemon) -> None:
    periodic(daemon, "submit", "f", "a", "--in", "1h")
    periodic(daemon, "pause", "f")
    ended = periodic(daemon, "explain", "f", "a")
    assert ended.returncode == 0
    not_due, paused, no_worker = ended.stdout.splitlines()
    assert not_due.startswith("it is not due for ")
    assert (paused, no_worker) == ("its function is paused", "no worker has its function")
    codes = [gate["code"] for gate in json.loads(periodic(daemon, "explain", "f", "a", "--json").stdout)]
    assert codes == ["not_due", "paused", "no_worker"]
    ended = periodic(daemon, "explain", "f", "b")
    assert (ended.returncode, ended.stdout) == (3, "there is no such job\n")
