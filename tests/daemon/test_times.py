"""``submit --at`` under a zone of one's own: the real command and daemon, with TZ in the environment."""

import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import trio

from periodic_client import Client
from rig.daemon import Daemon

_numbers = itertools.count()


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with Daemon(tmp_path_factory.mktemp("times")) as daemon:
        yield daemon


@pytest.fixture
def name() -> str:
    """Of a job that nobody has submitted yet."""
    return f"job {next(_numbers)}"


def submit_at(daemon: Daemon, name: str, text: str, zone: str | None) -> "subprocess.CompletedProcess[str]":
    env = {key: value for key, value in os.environ.items() if key not in ("TZ", "TZDIR")}
    if zone is not None:
        env["TZ"] = zone
    command = [sys.executable, "-m", "periodic_client", "--url", daemon.url, "submit", "f", name, "--at", text]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=60)


def due(daemon: Daemon, name: str) -> str | None:
    async def main() -> str | None:
        async with Client(daemon.url) as client:
            job = await client.get("f", name)
            return None if job is None else datetime.fromtimestamp(job["due_at_ms"] / 1000, UTC).isoformat()

    return trio.run(main)


UNKNOWN = "has no zone, and TZ={} is not known here; write it with an offset, as in 2030-01-31T18:00+01:00"


@pytest.mark.parametrize(
    ("text", "zone", "why"),
    [
        (
            "2036-03-30T02:30", "Europe/Berlin",
            "is left out when the clock is put forward; write 2036-03-30T01:30:00+01:00 or 2036-03-30T03:30:00+02:00",
        ),
        (
            "2036-10-26T02:30", "Europe/Berlin",
            "is there twice when the clock is put back; write 2036-10-26T02:30:00+02:00 or 2036-10-26T02:30:00+01:00",
        ),
        ("2036-10-26 02:30", "CET-1CEST,M3.5.0,M10.5.0/3", "is there twice"),
        (
            "2036-10-05T02:15", "Australia/Lord_Howe",
            "is left out when the clock is put forward; write 2036-10-05T01:45:00+10:30 or 2036-10-05T02:45:00+11:00",
        ),
        *(("2030-01-31T18:00", zone, UNKNOWN.format(zone)) for zone in ("Europe/Berlinn", "Foo", "Europe", "A0", "/")),
    ],
)  # fmt: skip
def test_a_time_that_is_not_one_point_in_time_is_refused(
    daemon: Daemon, name: str, text: str, zone: str, why: str
) -> None:
    ended = submit_at(daemon, name, text, zone)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert f"{text!r} {why}" in ended.stderr
    assert due(daemon, name) is None


@pytest.mark.parametrize(
    ("text", "zone", "at"),
    [
        ("2036-03-30T01:59:59", "Europe/Berlin", "2036-03-30T00:59:59+00:00"),
        ("2036-03-30T03:00", ":Europe/Berlin", "2036-03-30T01:00:00+00:00"),
        ("2036-10-26T02:30+01:00", "Europe/Berlin", "2036-10-26T01:30:00+00:00"),
        ("2036-07-01T18:00Z", "Europe/Berlinn", "2036-07-01T18:00:00+00:00"),
        *(("2036-07-01T18:00", zone, "2036-07-01T18:00:00+00:00") for zone in ("", "UTC", "Etc/GMT", "<+00>-0", None)),
        ("2036-07-01T18:00", "XYZ-3", "2036-07-01T15:00:00+00:00"),
    ],
)
def test_a_time_that_is_clear_is_taken(daemon: Daemon, name: str, text: str, zone: str | None, at: str) -> None:
    ended = submit_at(daemon, name, text, zone)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "created\n", "")
    if zone is None:  # the machine's own
        at = datetime.fromisoformat(text).astimezone(UTC).isoformat()
    assert due(daemon, name) == at
