"""Commands that look at the whole of a daemon, as a person or a script gives them: doctor."""

import json
from typing import Any

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
