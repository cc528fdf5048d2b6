"""docs/operating.md holds: its tables are the code's, its unit is well-formed, its procedures work on a real daemon."""

import configparser
import os
import re
import resource
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

import image_workers.cli
from periodic_client import Client, ConnectionLost, NewJob
from periodic_client.cli_target import ABSENT, EXIT_CODES, FAILED, INTERRUPTED, REFUSED, UNANSWERED, UNREACHABLE
from periodic_client.streams import EXIT_UNWRITTEN
from periodicd import cli, cli_store, notify
from periodicd.config import FIELDS
from periodicd.logs import JsonFormatter, PeopleFormatter
from rig.daemon import Daemon
from tests.daemon.log_record import record
from tests.daemon.service import Service

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/operating.md").read_text()
UNIT = ROOT / "periodicd/periodicd.service"


def rows(header: str) -> list[list[str]]:
    """The cells of the table that begins so."""
    table = PAGE.split(f"| {header} |", 1)[1].split("\n\n")[0]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.split("\n")[2:]]


# -- the page ----------------------------------------------------------------------------------------------------------


def test_the_configuration_table_is_the_code_s() -> None:
    expected = [[f"`{each.name}`", f"`{each.default_text}`", each.form, each.meaning] for each in FIELDS.values()]
    assert rows("key") == expected, "\n".join(f"| {' | '.join(row)} |" for row in expected)


def test_the_exit_codes_are_the_command_s() -> None:
    codes = {cli_store.EXIT_USAGE, cli_store.EXIT_STORE, cli.EXIT_LISTEN, cli.EXIT_STORE_FAILED, EXIT_UNWRITTEN}
    assert [int(row[0]) for row in rows("exit code")] == [0, 1, *sorted(codes)]


def test_the_exit_codes_of_image_workers_are_those_of_its_help() -> None:
    shown = re.findall(r"^  (\d+) ", image_workers.cli.EXIT_CODES, re.MULTILINE)
    assert [row[0] for row in rows("`image-workers` ends with")] == shown


def test_the_exit_codes_of_periodic_are_those_of_its_help() -> None:
    shown = re.findall(r"^  (\d+) ", EXIT_CODES, re.MULTILINE)
    assert [row[0] for row in rows("`periodic` ends with")] == shown
    constants = {REFUSED, ABSENT, UNREACHABLE, UNANSWERED, FAILED, EXIT_UNWRITTEN, INTERRUPTED}
    assert {int(code) for code in shown} == {0, 2} | constants


async def test_the_figures_to_watch_are_those_of_status(daemon: Daemon) -> None:
    async with Client(daemon.url) as client:
        await client.submit(NewJob("f", "a", delay_ms=1000))
        status = await client.status()
    for row in rows("figure"):
        (figure,) = re.findall(r"^`(\w+)`", row[0])
        assert figure in status or figure in status["functions"][0]


def test_the_lines_shown_are_those_that_are_logged() -> None:
    shown = re.findall(r"^    (2026-01-31T.*|\{\"time\".*)$", PAGE, re.MULTILINE)
    fields = {"connection": 7, "client": "resizer 2", "func": "resize", "job": "cat.jpg", "run": 41}
    made = record("a lease of %d ms ran out", 600_000, at_s=1_769_846_400.123, **fields)
    made.name = "periodicd.server"
    assert shown == [PeopleFormatter().format(made), JsonFormatter().format(made)]


# -- systemd -----------------------------------------------------------------------------------------------------------


def unit() -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(UNIT)
    return parser


def test_the_unit_fits_the_daemon() -> None:
    service = unit()["Service"]
    assert service["Type"] == "notify"
    assert service["Restart"] == "on-failure"
    assert int(service["RestartPreventExitStatus"]) == cli_store.EXIT_USAGE
    default_connections = FIELDS["connections"].default
    assert int(service["LimitNOFILE"]) >= default_connections + cli.FILES_BESIDE_CONNECTIONS
    assert service["WorkingDirectory"] == f"%S/{service['StateDirectory']}"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    # Only the program's place differs here.
    copy = tmp_path / "periodicd.service"
    copy.write_text(UNIT.read_text().replace("/opt/periodicd/bin/periodicd", sys.executable))
    found = subprocess.run(["systemd-analyze", "verify", copy], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stderr) == (0, "")


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_is_told_when_it_listens_lives_and_stops(tmp_path: Path, abstract: bool) -> None:
    with Service(tmp_path, "--drain-s", "2.5", abstract=abstract) as service:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(service.url.removeprefix("unix://"))
        assert service.wait_for("WATCHDOG=1") == "WATCHDOG=1"
        service.process.terminate()
        assert service.wait_for("STOPPING=1") == "STOPPING=1\nEXTEND_TIMEOUT_USEC=32500000"
        assert service.process.wait(20) == 0


def test_a_service_manager_that_does_not_listen_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(notify.VARIABLE, str(tmp_path / "gone.sock"))
    with Daemon(tmp_path) as daemon:
        assert daemon.stop() == 0
        assert f"cannot tell the service manager at {tmp_path / 'gone.sock'}: No such file or directory" in daemon.said
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as deaf:
        deaf.bind(str(tmp_path / "deaf.sock"))
        monkeypatch.setenv(notify.VARIABLE, str(tmp_path / "deaf.sock"))
        while not caplog.messages:
            notify.alive()
    assert caplog.messages[0].endswith("Resource temporarily unavailable")


# -- backing up, full disks --------------------------------------------------------------------------------------------


async def submit_until(client: Client, acknowledged: list[str], stop: Callable[[], bool], prefix: str) -> None:
    while not stop():
        name = f"{prefix}-{len(acknowledged)}"
        try:
            await client.submit(NewJob("f", name, os.urandom(2000), delay_ms=3_600_000))
        except ConnectionLost:
            return
        acknowledged.append(name)


async def names(url: str) -> set[str]:
    async with Client(url) as client:
        return {job["name"] async for job in client.list("f")}


def vacuum_into(store: Path, copy: Path) -> None:
    """What the page's sqlite3 command does, by another process as there."""
    script = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('VACUUM INTO ?', sys.argv[2:])"
    subprocess.run([sys.executable, "-c", script, store, copy], check=True)


def by_command(store: Path, copy: Path) -> None:
    command = [sys.executable, "-m", "periodicd", "--store", str(store), "backup", str(copy)]
    subprocess.run(command, check=True, capture_output=True)


@pytest.mark.parametrize("backup", [by_command, vacuum_into])
async def test_a_backup_of_a_daemon_under_load_starts_and_has_all_that_was_acknowledged(
    daemon: Daemon, tmp_path: Path, backup: Callable[[Path, Path], None]
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    acknowledged: list[str] = []
    begun_with = 0
    stopped = False
    async with Client(daemon.url) as client, trio.open_nursery() as nursery:
        for prefix in "abcd":
            nursery.start_soon(submit_until, client, acknowledged, lambda: stopped, prefix)
        while len(acknowledged) < 500:  # noqa: ASYNC110 - counts what came from outside
            await trio.sleep(0.001)
        begun_with = len(acknowledged)
        await trio.to_thread.run_sync(backup, daemon.store, other / "periodic.db")
        stopped = True
    assert len(acknowledged) > begun_with, "it was not held up"
    with sqlite3.connect(other / "periodic.db") as copy:
        assert copy.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    copy.close()
    with Daemon(other) as second:
        assert set(acknowledged[:begun_with]) <= await names(second.url) <= set(acknowledged)


def test_the_files_of_a_crashed_daemon_move_together(daemon: Daemon, tmp_path: Path) -> None:
    acknowledged: list[str] = []

    async def submit() -> None:
        async with Client(daemon.url) as client:
            await submit_until(client, acknowledged, lambda: len(acknowledged) == 50, "a")

    trio.run(submit)
    daemon.kill()
    for folder, suffixes in (("whole", ("", "-wal")), ("torn", ("",))):
        (tmp_path / folder).mkdir()
        for suffix in suffixes:
            name = daemon.store.name + suffix
            shutil.copy(daemon.store.with_name(name), tmp_path / folder / name)
    with Daemon(tmp_path / "whole") as moved:
        assert trio.run(names, moved.url) == set(acknowledged)
    with Daemon(tmp_path / "torn") as torn:
        assert trio.run(names, torn.url) == set(), "so the page says: one without the other has lost jobs"
        assert torn.stop() == 0
    assert sorted(path.name for path in (tmp_path / "torn").glob("*.db*")) == ["periodic.db", "periodic.db.lock"]


def test_a_disk_without_room_ends_the_daemon_and_loses_nothing(daemon: Daemon) -> None:
    acknowledged: list[str] = []

    async def submit_until_it_ends() -> None:
        async with Client(daemon.url) as client:
            await submit_until(client, acknowledged, lambda: len(acknowledged) == 100, "before")
            wal_bytes = daemon.store.with_name("periodic.db-wal").stat().st_size
            # From here on the kernel lets no file of this process grow further than that.
            resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (wal_bytes + 50_000, wal_bytes + 50_000))
            await submit_until(client, acknowledged, lambda: False, "after")

    trio.run(submit_until_it_ends)
    assert daemon.wait() == cli.EXIT_STORE_FAILED
    assert "periodic.db failed: disk I/O error; nothing was acknowledged after that" in daemon.said
    assert len(acknowledged) > 100
    daemon.start()
    left = trio.run(names, daemon.url)
    assert set(acknowledged) <= left
    assert len(left - set(acknowledged)) <= 1, "the one whose answer never came"


async def test_a_program_that_only_reads_the_store_is_harmless(daemon: Daemon) -> None:
    async with Client(daemon.url) as client:
        await client.submit(NewJob("f", "a", delay_ms=3_600_000))
        reader = sqlite3.connect(f"{daemon.store.as_uri()}?mode=ro", uri=True)
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM jobs").fetchone() == (1,)
        await client.submit_many([NewJob("f", str(number), delay_ms=3_600_000) for number in range(5_000)])
        assert reader.execute("SELECT count(*) FROM jobs").fetchone() == (1,), "it sees its moment"
        reader.close()
    assert len(await names(daemon.url)) == 5_001
