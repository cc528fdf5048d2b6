"""The real daemon when its wall clock is stepped by an hour, and when it is stopped and goes on.

Dates follow the wall clock, leases the monotonic one, and waits the wall clock unless it is stepped back.
"""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rig.daemon import Daemon
from tests.clock.stepped import SteppedDaemon
from tests.model.link import Link

HOUR_S = 3_600
HOUR_MS = HOUR_S * 1000
AGAIN_AT_ONCE = {"limit": 9, "backoff": "fixed", "delay_ms": 0}
NOTICED_S = 2
"""The daemon looks at the clock every second."""
STOPPED_S = float(os.environ.get("TEST_STOPPED_S", "4"))
"""How long the daemon is stopped; TEST_STOPPED_S=30 is worth a try by hand."""


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[SteppedDaemon]:
    with SteppedDaemon(tmp_path) as daemon:
        yield daemon


@pytest.fixture
def client(daemon: SteppedDaemon) -> Iterator[Link]:
    link = Link(daemon)
    yield link
    link.close()


@pytest.fixture
def worker(daemon: SteppedDaemon) -> Iterator[Link]:
    link = Link(daemon)
    link.ask("subscribe", "f", {"limit": 1000})
    yield link
    link.close()


def daemon_ms(link: Link) -> int:
    return int(link.ask("hello")["now_at_ms"])


def submit(client: Link, name: str, **more: Any) -> None:
    assert client.ask("submit", {"func": "f", "name": name, **more})["result"] == "created"


def state(client: Link, name: str) -> str:
    return str(client.ask("get", "f", name)["job"]["state"])


def given(worker: Link, count: int) -> list[dict[str, Any]]:
    """The next jobs that the daemon gives out of its own accord. Fails if it sleeps on."""
    while len(worker.performs) < count:
        worker.hear()
    jobs = [job for _, job in worker.performs[:count]]
    del worker.performs[:count]
    return jobs


def test_the_clock_is_stepped_and_the_monotonic_one_is_not(daemon: SteppedDaemon, client: Link) -> None:
    """What the other tests rest on."""
    before = client.ask("status")
    daemon.step_to(HOUR_S)
    after = client.ask("status")
    assert HOUR_MS <= after["now_at_ms"] - before["now_at_ms"] < 2 * HOUR_MS
    assert after["uptime_ms"] - before["uptime_ms"] < HOUR_MS


def test_a_step_back_starts_nothing_early_and_holds_nothing_back(
    daemon: SteppedDaemon, client: Link, worker: Link
) -> None:
    due_ms = daemon_ms(client) + 60_000
    submit(client, "in a minute", due_at_ms=due_ms)
    daemon.step_to(-HOUR_S)
    assert daemon_ms(client) < due_ms - HOUR_MS
    submit(client, "now")
    assert [job["name"] for job in given(worker, 1)] == ["now"]
    daemon.step_to(50)
    submit(client, "at fifty seconds")
    assert [job["name"] for job in given(worker, 1)] == ["at fifty seconds"]
    assert state(client, "in a minute") == "waiting"
    daemon.step_to(60)
    assert [job["name"] for job in given(worker, 1)] == ["in a minute"]
    assert daemon_ms(client) >= due_ms


@pytest.mark.parametrize("offset_s", [-HOUR_S, HOUR_S])
def test_a_step_neither_ends_a_lease_nor_extends_it(
    daemon: SteppedDaemon, client: Link, worker: Link, offset_s: int
) -> None:
    begin_s = time.monotonic()
    submit(client, "short", lease_ms=2_000, retry=AGAIN_AT_ONCE)
    submit(client, "long", lease_ms=1_000_000)
    assert {job["attempt"] for job in given(worker, 2)} == {1}
    daemon.step_to(offset_s)
    (again,) = given(worker, 1)
    assert (again["name"], again["attempt"], again["failures"]) == ("short", 2, 1)
    assert time.monotonic() - begin_s >= 2, "the lease ended with the step"
    assert state(client, "long") == "running"


def test_a_step_forward_gives_out_what_became_due_each_once(daemon: SteppedDaemon, client: Link, worker: Link) -> None:
    now_ms = daemon_ms(client)
    due = [str(minutes) for minutes in range(1, 60)]
    for minutes in (*due, "70", "80", "90"):
        submit(client, minutes, due_at_ms=now_ms + int(minutes) * 60_000)
    worker.raw.socket.settimeout(NOTICED_S)
    daemon.step_to(HOUR_S)
    assert [job["name"] for job in given(worker, len(due))] == due
    (function,) = client.ask("status")["functions"]
    assert (function["started"], function["running"], function["waiting"]) == (len(due), len(due), 3)
    daemon.step_to(0)
    daemon.step_to(HOUR_S)
    assert client.ask("status")["functions"][0]["started"] == len(due), "there and back again gives out nothing twice"


def test_a_stopped_daemon_goes_on_where_it_was(tmp_path: Path) -> None:
    count = 20
    with Daemon(tmp_path) as daemon:
        client, worker = Link(daemon), Link(daemon)
        worker.ask("subscribe", "f", {"limit": 1000})
        submit(client, "short", lease_ms=3_000, retry=AGAIN_AT_ONCE)
        submit(client, "long", lease_ms=1_000_000)
        given(worker, 2)
        for number in range(count):
            submit(client, str(number), delay_ms=1_000 + int(number * (STOPPED_S - 2) * 1000 / count))
        os.kill(daemon.pid, signal.SIGSTOP)
        # No event ends the wait: that nothing happens for so long is the case.
        time.sleep(STOPPED_S)
        worker.send("ping")
        os.kill(daemon.pid, signal.SIGCONT)
        jobs = given(worker, count + 1)
        attempts = {job["name"]: job["attempt"] for job in jobs}
        assert attempts == {"short": 2} | {str(number): 1 for number in range(count)}
        assert len(jobs) == len(attempts), "each once"
        assert state(client, "long") == "running"
        submit(client, "afterwards")
        assert [job["name"] for job in given(worker, 1)] == ["afterwards"], "the connections are still served"
        client.close()
        worker.close()


def test_a_retry_of_two_seconds_is_not_prolonged_by_a_clock_stepped_back(
    daemon: SteppedDaemon, client: Link, worker: Link
) -> None:
    begin_s = time.monotonic()
    submit(client, "again", retry={"backoff": "fixed", "delay_ms": 2_000})
    while not worker.performs:
        worker.hear()
    ((msgid, _),) = worker.performs
    worker.performs.clear()
    worker.raw.send([1, msgid, "not today", None])
    assert worker.ask("ping") == {}
    daemon.step_to(-HOUR_S)
    (again,) = given(worker, 1)
    assert again["failures"] == 1
    assert 2 <= time.monotonic() - begin_s < 1_000
