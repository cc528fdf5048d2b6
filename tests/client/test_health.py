"""What is wrong with a daemon, and what is not: the real rules on a virtual clock, looked at by ``health``."""

import re
from pathlib import Path
from typing import Any

from periodic_client import health
from periodic_client.health import Facts, Finding, Why, examine, worst
from tests.core.script import Daemon, worker

PAGE = (Path(__file__).parents[2] / "docs/operating.md").read_text()


def facts(daemon: Daemon, **other: Any) -> Facts:
    client = daemon.connect()
    status, locks = client.ask("status", {"limit": 1000}), client.ask("locks")["locks"]
    workers = client.ask("workers")["workers"]
    holders = [holder for lock in locks for holder in lock["holders"]]
    leases = {each["id"]: daemon.job(each["func"], each["name"])["lease_until_at_ms"] for each in holders}
    client.close()
    found = Facts("tcp://h:1", "", 0.5, 0, status, workers, [each for each in locks if each["parked"]], leases, 0, None)
    # A script's daemon is called after no version.
    return found._replace(**other)


def unwell(daemon: Daemon, **other: Any) -> dict[str, Finding]:
    found = {each.check: each for each in examine(facts(daemon, **other))}
    assert all(each.todo for each in found.values() if each.verdict != "ok")
    return {check: each for check, each in found.items() if each.verdict != "ok"}


def test_a_daemon_at_work_is_well() -> None:
    daemon = Daemon()
    client, runner = daemon.connect(), worker(daemon)
    client.submit("a")
    runner.take().respond()
    client.submit("b", delay_ms=90_000)
    findings = examine(facts(daemon))
    assert worst(findings) == "ok"
    assert len({each.check for each in findings}) == len(findings)
    runner.ask("ping")


def test_due_jobs_without_a_worker_are_bad() -> None:
    daemon = Daemon()
    client = daemon.connect()
    for func in "fghij":
        client.submit("it's a", func=func)
    daemon.later(9_000)
    assert unwell(daemon) == {}
    daemon.later(2_000)
    found = unwell(daemon)
    assert list(found) == ["no worker"]
    assert found["no worker"].verdict == "bad"
    assert found["no worker"].found.startswith("f (1 waiting, the oldest due for 11s), g (")
    assert found["no worker"].found.endswith(" and 2 more")


def test_what_has_a_worker_and_is_overdue_is_told_with_what_holds_it_back() -> None:
    daemon = Daemon()
    client, runner = daemon.connect(), worker(daemon, limit=1, silence_ms=3_600_000)
    client.submit("a", lease_ms=86_400_000)
    client.submit("b")
    runner.take()
    daemon.later(61_000)
    gates = client.ask("explain", "f", "b")["gates"]
    found = unwell(daemon, why=Why("f", "it's b", [gate["text"] for gate in gates]))
    assert (list(found), found["overdue"].verdict) == (["overdue"], "watch")
    assert found["overdue"].found == "f for 1m; it's b: all 1 workers of its function are busy"
    assert found["overdue"].todo == """periodic explain f 'it'"'"'s b'"""
    daemon.later(600_000)
    assert unwell(daemon)["overdue"].verdict == "bad"


def test_a_pause_with_due_jobs_is_to_be_watched_and_nothing_else() -> None:
    daemon = Daemon()
    client = daemon.connect()
    worker(daemon, silence_ms=3_600_000)
    client.ask("pause", "f")
    assert unwell(daemon) == {}
    client.submit("a")
    daemon.later(700_000)
    found = unwell(daemon)
    assert {check: each.verdict for check, each in found.items()} == {"paused": "watch"}
    assert found["paused"].found == "f (1 waiting, for 11.6m)"


def test_a_lock_that_is_held_long_with_a_line_behind_it() -> None:
    daemon = Daemon()
    client, runner = daemon.connect(), worker(daemon, silence_ms=3_600_000)
    client.submit("a", locks={"k": 1}, lease_ms=3_600_000)
    runner.take()
    daemon.later(700_000)
    assert unwell(daemon) == {}, "nobody waits for it"
    client.submit("b", locks={"k": 1})
    found = unwell(daemon)
    assert {check: each.verdict for check, each in found.items()} == {"locks": "watch"}
    assert found["locks"].found == "k has been held by f a for 11.6m, 1 in line"
    assert found["locks"].todo == "periodic get f a, then periodic end-run f a"
    run_out = {next(iter(facts(daemon).leases)): daemon.now.wall_ms - 10_000}
    found = unwell(daemon, leases=run_out)
    assert (found["locks"].verdict, found["locks"].found) == ("bad", "k is held by f a 10s past its lease, 1 in line")


def test_one_that_wants_more_than_there_is_stands_at_a_lock_that_nobody_holds() -> None:
    daemon = Daemon()
    client = daemon.connect()
    worker(daemon)
    client.submit("a", locks={"k": 2})
    assert unwell(daemon)["locks"].found == "k is held by nobody, and has 1 in line"


def test_a_worker_that_does_not_ping_is_told_before_it_is_closed() -> None:
    daemon = Daemon()
    worker(daemon)
    daemon.later(29_000)
    assert unwell(daemon) == {}
    daemon.later(2_000)
    assert "silent for 31s of the 1m" in unwell(daemon)["workers"].found


def test_the_dead_of_late_count_and_those_of_before_do_not() -> None:
    daemon = Daemon()
    client, runner = daemon.connect(), worker(daemon)
    client.submit("a", retry={"limit": 0})
    runner.take().fail()
    assert unwell(daemon) == {}
    assert unwell(daemon, dead_lately=1)["dead"].verdict == "watch"
    assert unwell(daemon, dead_lately=100)["dead"].verdict == "bad"


def test_limits_that_refuse_are_bad_and_those_that_forget_are_not() -> None:
    daemon = Daemon(connections=4, dead_kept=1)
    client, runner = daemon.connect(), worker(daemon)
    assert unwell(daemon) == {}
    client.submit("a", retry={"limit": 0})
    runner.take().fail()
    client.ask("set_function", "g", {"queue_max": 1})
    client.submit("a", func="g", delay_ms=1_000)
    daemon.connect()
    found = unwell(daemon)
    assert {check: each.verdict for check, each in found.items()} == {
        "connections": "bad", "dead kept": "watch", "queues": "bad",
    }  # fmt: skip
    assert found["queues"].found == "g has 100% of 1"


def test_figures_of_the_machine_are_judged_by_what_is_said_at_the_top() -> None:
    daemon = Daemon()
    plain = facts(daemon)

    def verdict(check: str, **status: Any) -> str:
        found = {each.check: each.verdict for each in examine(plain._replace(status=plain.status | status))}
        return found[check]

    watch_us, bad_us = health.COMMIT_P99_US
    commits = [verdict("commits", commit_p50_us=1, commit_p99_us=us) for us in (watch_us - 1, watch_us, bad_us)]
    assert commits == ["ok", "watch", "bad"]
    on_disk = {"store_bytes": 2**31, "wal_bytes": 2**20, "free_bytes": 2**40}
    assert [verdict("wal", **on_disk | {"wal_bytes": each}) for each in health.WAL_BYTES] == ["watch", "bad"]
    free = [verdict("disk", **on_disk | {"free_bytes": each}) for each in (2**32, 2**31 - 1, *health.FREE_BYTES)]
    assert free == ["ok", "watch", "watch", "bad"], "the second is less than the store itself has"
    assert [verdict("durability", durability=word) for word in ("full", "relaxed", "memory")] == [
        "ok",
        "watch",
        "watch",
    ]
    assert verdict("versions", server="periodicd 9.9.9") == "watch"
    for limits, check, field in (
        (health.ROUND_TRIP_MS, "connection", "round_trip_ms"), (health.CLOCK_MS, "clock", "clock_ms"),
    ):  # fmt: skip
        for ms, expected in zip((limits[0] - 1, *limits), health.VERDICTS, strict=True):
            measured: dict[str, Any] = {field: ms}
            found = {each.check: each.verdict for each in examine(plain._replace(**measured))}
            assert found[check] == expected


def test_what_an_older_daemon_does_not_tell_is_left_out() -> None:
    plain = facts(Daemon())
    new = ("connections_max", "store_bytes", "wal_bytes", "free_bytes", "dead_max", "results", "results_max",
           "results_bytes", "results_bytes_max", "schedules", "schedules_max")  # fmt: skip
    old = {key: value for key, value in plain.status.items() if key not in new}
    checks = {each.check for each in examine(plain._replace(status=old))}
    assert checks.isdisjoint({"store", "wal", "disk", "connections", "schedules", "dead kept", "results kept"})


def test_the_page_names_from_when_a_disk_is_slow() -> None:
    (watch, bad) = re.findall(r"`commit_p99_us`.*From ([\d,]+) .* from ([\d,]+) ", PAGE)[0]
    assert (int(watch.replace(",", "")), int(bad.replace(",", ""))) == health.COMMIT_P99_US
