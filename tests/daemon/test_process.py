"""The process from outside: start, stop, kill -9, and everything that may be wrong with how it is started."""

import os
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
import trio

from periodic_client import CannotConnect, Client, ConnectionLost, Job, NewJob, Worker
from periodic_client.wire import Draining
from periodicd.net.addresses import parse_address
from rig.daemon import Daemon
from tests.daemon.raw import Raw
from tests.daemon.refused import refused


async def test_a_job_goes_through_daemon_store_and_worker(daemon: Daemon) -> None:
    seen: list[tuple[str, bytes]] = []
    worker = Worker(daemon.url)

    @worker.function("greet")
    async def greet(job: Job) -> None:
        seen.append((job.name, job.workload))
        worker.stop()

    async with Client(daemon.url) as client:
        assert (await client.submit(NewJob("greet", "world", b"hello"))).result == "created"
        await worker.run()
        assert await client.get("greet", "world") is None
    assert seen == [("world", b"hello")]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_drains_and_exits_0(daemon: Daemon, number: signal.Signals) -> None:
    worker = Worker(daemon.url)
    begun, may_end = trio.Event(), trio.Event()

    @worker.function("f", limit=2)
    async def slow(job: Job) -> None:
        begun.set()
        await may_end.wait()

    async with trio.open_nursery() as nursery, Client(daemon.url) as client:
        nursery.start_soon(worker.run)
        await client.submit(NewJob("f", "a"))
        await begun.wait()
        os.kill(daemon.pid, number)
        # Between two submits it closes without an answer being lost, and the next one finds nobody.
        with pytest.raises((ConnectionLost, CannotConnect)):
            while True:
                # Submits are still taken; the job given out before is waited for.
                await client.submit(NewJob("f", "b"))
                may_end.set()
        nursery.cancel_scope.cancel()
    assert await trio.to_thread.run_sync(daemon.wait) == 0
    assert "waiting up to 10 s for running jobs" in daemon.said
    daemon.start()
    async with Client(daemon.url) as client:
        assert await client.get("f", "a") is None
        left = await client.get("f", "b")
        assert left is not None
        assert left["state"] == "waiting"


def test_a_stop_with_nothing_running_does_not_say_that_it_waits(daemon: Daemon) -> None:
    assert daemon.stop() == 0
    assert "received SIGTERM" in daemon.said
    assert "waiting" not in daemon.said


async def test_a_second_signal_ends_the_drain(daemon: Daemon) -> None:
    worker = Worker(daemon.url)
    begun = trio.Event()

    @worker.function("f")
    async def endless(job: Job) -> None:
        begun.set()
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery, Client(daemon.url) as client:
        nursery.start_soon(worker.run)
        await client.submit(NewJob("f", "a"))
        await begun.wait()
        os.kill(daemon.pid, signal.SIGINT)
        while "waiting up to 10 s" not in daemon.said:  # noqa: ASYNC110 - another process's log
            await trio.sleep(0.01)
        os.kill(daemon.pid, signal.SIGINT)
        with trio.fail_after(5):
            assert await trio.to_thread.run_sync(daemon.wait) == 0
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("when", ["before", "during"])
def test_a_stop_does_not_wait_for_a_run_whose_job_was_removed(tmp_path: Path, when: str) -> None:
    # Longer than anyone here waits for its end.
    with Daemon(tmp_path, "--drain", "3600") as daemon:
        worker, client = Raw(daemon), Raw(daemon)
        worker.ask("subscribe", "f")
        client.ask("submit", {"func": "f", "name": "a"})
        assert worker.receive()[2] == "perform"
        if when == "before":
            assert client.ask("remove", "f", "a") == {"result": "removed"}
        os.kill(daemon.pid, signal.SIGTERM)
        if when == "during":
            with pytest.raises(Draining):
                while client.ask("subscribe", "g") == {}:
                    pass
            assert client.ask("remove", "f", "a") == {"result": "removed"}
        assert daemon.wait() == 0
        worker.socket.close()
        client.socket.close()


async def test_shutdown_is_answered_and_stops_the_daemon(daemon: Daemon) -> None:
    async with Client(daemon.url) as client:
        await client.shutdown()
    assert await trio.to_thread.run_sync(daemon.wait) == 0


def test_a_drain_that_takes_too_long_leaves_the_lease_to_the_next_start(tmp_path: Path) -> None:
    async def scenario(daemon: Daemon) -> None:
        worker = Worker(daemon.url, disconnect_grace_ms=60_000)
        runs = 0
        begun, may_end, ended = trio.Event(), trio.Event(), trio.Event()

        @worker.function("f")
        async def slow(job: Job) -> None:
            nonlocal runs
            runs += 1
            begun.set()
            await may_end.wait()
            ended.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(worker.run)
            async with Client(daemon.url) as client:
                await client.submit(NewJob("f", "a"))
                await begun.wait()
            assert await trio.to_thread.run_sync(daemon.stop) == 0
            await trio.to_thread.run_sync(daemon.start)
            may_end.set()
            async with Client(daemon.url) as client:
                while await client.get("f", "a") is not None:  # noqa: ASYNC110 - another process
                    await trio.sleep(0.02)
            nursery.cancel_scope.cancel()
        assert runs == 1

    with Daemon(tmp_path, "--drain", "0.1") as daemon:
        trio.run(scenario, daemon)


def test_kill_9_loses_nothing_acknowledged(daemon: Daemon) -> None:
    acknowledged: list[str] = []

    async def submit_until_killed() -> None:
        async with Client(daemon.url) as client, trio.open_nursery() as nursery:

            async def one_after_the_other(prefix: str) -> None:
                number = 0
                while True:
                    name = f"{prefix}-{number}"
                    try:
                        await client.submit(NewJob("f", name, os.urandom(50), delay_ms=3_600_000))
                    except (ConnectionLost, CannotConnect):
                        return
                    acknowledged.append(name)
                    number += 1

            for task in range(20):
                nursery.start_soon(one_after_the_other, str(task))
            while len(acknowledged) < 500:  # noqa: ASYNC110 - counts what came from outside
                await trio.sleep(0.001)
            daemon.kill()

    async def names() -> set[str]:
        async with Client(daemon.url) as client:
            return {job["name"] async for job in client.list("f")}

    for _ in range(3):
        acknowledged.clear()
        trio.run(submit_until_killed)
        daemon.start()
        assert set(acknowledged) <= trio.run(names)


def test_a_due_time_is_the_same_after_a_kill(daemon: Daemon) -> None:
    due = {"tomorrow": time.time_ns() // 1_000_000 + 86_400_000, "at the end of time": 253_402_300_799_999}
    raw = Raw(daemon)
    for name, due_at_ms in due.items():
        assert raw.ask("submit", {"func": "f", "name": name, "due_at_ms": due_at_ms})["result"] == "created"
    daemon.kill()
    raw.socket.close()
    daemon.start()
    raw = Raw(daemon)
    assert {job["name"]: job["due_at_ms"] for job in raw.ask("list")["jobs"]} == due
    raw.socket.close()


def test_it_listens_on_several_addresses_and_clears_a_stale_socket(tmp_path: Path) -> None:
    path = tmp_path / "periodic.sock"
    with Daemon(tmp_path, "--listen", f"unix://{path}") as daemon:
        for url in (daemon.url, f"unix://{path}"):
            assert subprocess.run(periodic(url, "ping"), check=False).returncode == 0
        daemon.kill()
        assert path.exists()
        daemon.start()
        assert subprocess.run(periodic(f"unix://{path}", "ping"), check=False).returncode == 0
        daemon.stop()
        assert not path.exists()


def test_a_store_in_memory_serves_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Daemon(tmp_path, "--store", ":memory:") as daemon:
        raw = Raw(daemon)
        assert raw.ask("hello")["durability"] == "memory"
        for name in "abc":
            assert raw.ask("submit", {"func": "f", "name": name, "retry": {"limit": 0}})["result"] == "created"
        assert raw.ask("remove", "f", "c") == {"result": "removed"}
        raw.ask("subscribe", "f")
        _, msgid, _, (first,) = raw.receive()
        raw.send([1, msgid, "broken", None])
        _, _, _, (second,) = raw.receive()
        assert (first["name"], second["name"]) == ("a", "b")
        status = raw.ask("status")
        assert (status["durability"], status["functions"][0]["running"]) == ("memory", 1)
        assert [job["state"] for job in raw.ask("list")["jobs"]] == ["dead", "running"]
        assert raw.ask("requeue", "f", "a")["result"] == "requeued"
        assert raw.ask("get", "f", "a")["job"]["state"] == "waiting"
        assert raw.ask("unsubscribe_all") == {}
        raw.socket.close()
        assert daemon.stop() == 0
        assert "nothing of it survives the end of this process" in daemon.said
        assert "store :memory:, boot 1, durability memory" in daemon.said
        daemon.start()
        raw = Raw(daemon)
        assert raw.ask("list")["jobs"] == []
        raw.socket.close()
    assert [path.name for path in tmp_path.iterdir()] == ["periodicd.log"]


def periodic(url: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "periodic_client", "--url", url, *arguments]


# -- what may be wrong with how it is started --------------------------------------------------------------------------


def test_a_port_in_use(daemon: Daemon, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    code, said = refused(other, listen=daemon.url)
    assert code == 4
    assert f"cannot listen on {daemon.url}: Address already in use; is another periodicd running?" in said


def test_a_store_in_use(daemon: Daemon, tmp_path: Path) -> None:
    code, said = refused(tmp_path)
    assert code == 3
    assert f"is in use by another periodicd (process {daemon.pid}); stop it first" in said


def test_a_store_in_use_that_is_reached_by_symlinks(daemon: Daemon, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "step").symlink_to(daemon.store)
    (other / "periodic.db").symlink_to("step")
    code, said = refused(other)
    assert code == 3
    assert f"{daemon.store} is in use by another periodicd (process {daemon.pid}); stop it first" in said


def test_a_store_in_use_that_is_reached_by_a_hard_link(daemon: Daemon, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "periodic.db").hardlink_to(daemon.store)
    code, said = refused(other)
    assert code == 3
    assert f"{other / 'periodic.db'} is one of 2 names of the same file (hard links)" in said
    assert sorted(path.name for path in other.iterdir()) == ["periodic.db", "periodicd.log"]


def test_a_symlink_that_leads_nowhere_or_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "periodic.db").symlink_to("missing/periodic.db")
    code, said = refused(tmp_path)
    assert code == 3
    assert f"cannot open {tmp_path / 'missing/periodic.db'}.lock: No such file" in said
    (tmp_path / "periodic.db").unlink()
    (tmp_path / "periodic.db").symlink_to("periodic.db")
    code, said = refused(tmp_path)
    assert code == 3
    assert "Traceback" not in said


def test_a_directory_instead_of_a_database(tmp_path: Path) -> None:
    (tmp_path / "periodic.db").mkdir()
    code, said = refused(tmp_path)
    assert code == 3
    assert "is a directory; --store names a file" in said
    assert "Traceback" not in said


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "periodic.db").write_bytes(b"\xff\xd8\xff\xe0 a picture" * 1000)
    code, said = refused(tmp_path)
    assert code == 3
    assert "is not a SQLite database" in said


def test_a_database_of_somebody_else(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "periodic.db") as other:
        other.execute("CREATE TABLE recipes (name)")
    other.close()
    code, said = refused(tmp_path)
    assert code == 3
    assert "is a database of another program" in said


@pytest.mark.parametrize(
    ("listen", "message"),
    [
        ("5000", "is neither tcp://host:port nor unix:///path"),
        ("tcp://127.0.0.1", "has no port, as in tcp://127.0.0.1:5000"),
        ("tcp://127.0.0.1:99999", "Port out of range"),
        ("unix://relative.sock", "after unix:// comes an absolute path"),
        ("udp://127.0.0.1:5000", "is neither tcp"),
        ("tcp://0.0.0.0:0", "can be reached from other machines"),
        ("tcp://[::]:0", "can be reached from other machines"),
    ],
)
def test_an_address_that_cannot_be(tmp_path: Path, listen: str, message: str) -> None:
    code, said = refused(tmp_path, listen=listen)
    assert code == 2
    assert message in said
    assert not (tmp_path / "periodic.db").exists()


def test_beyond_this_machine_it_must_be_told_to(tmp_path: Path) -> None:
    with Daemon(tmp_path, "--insecure-bind", listen="tcp://0.0.0.0:0") as daemon:
        assert daemon.url.startswith("tcp://0.0.0.0:")


def test_a_socket_that_is_alive_or_is_no_socket(tmp_path: Path) -> None:
    path = tmp_path / "live.sock"
    with socket.socket(socket.AF_UNIX) as alive:
        alive.bind(str(path))
        alive.listen()
        code, said = refused(tmp_path, listen=f"unix://{path}")
        assert code == 4
        assert "Address already in use" in said
        assert path.exists()
    (tmp_path / "file").write_text("mine")
    code, said = refused(tmp_path, listen=f"unix://{tmp_path / 'file'}")
    assert code == 4
    assert (tmp_path / "file").read_text() == "mine"


def test_an_unknown_option(tmp_path: Path) -> None:
    code, said = refused(tmp_path, "--sotre", "x")
    assert code == 2
    assert "No such option" in said


def test_a_new_store_is_for_its_owner_only(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        with Daemon(tmp_path) as daemon:
            raw = Raw(daemon)
            raw.ask("submit", {"func": "f", "name": "a"})
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.glob("periodic.db*")}
            assert modes == dict.fromkeys(
                ("periodic.db", "periodic.db-wal", "periodic.db-shm", "periodic.db.lock"), 0o600
            )
            assert "can be read by others" not in daemon.said
            raw.socket.close()
            daemon.stop()
            daemon.store.chmod(0o644)
            daemon.start()
            assert f"{daemon.store} can be read by others (mode 644)" in daemon.said
    finally:
        os.umask(before)


def test_sigterm_before_there_is_anything_to_put_in_order() -> None:
    """As process 1 a signal without a handler is ignored, so one must stand before the slow imports."""
    code = """
import importlib.abc, os, signal, sys
import periodicd.__main__


class Slow(importlib.abc.MetaPathFinder):
    def find_spec(self, name, *_):
        if name == "periodicd.cli":
            os.kill(os.getpid(), signal.SIGTERM)


sys.meta_path.insert(0, Slow())
periodicd.__main__.main()
"""
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=20).returncode == 0


@pytest.mark.parametrize("host", ["127.0.0.2", "127.255.0.1", "[::1]"])
def test_all_of_loopback_is_this_machine(host: str) -> None:
    assert parse_address(f"tcp://{host}:5000").is_local


def test_a_name_that_is_not_found_is_said_so(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "periodicd", "--listen", "tcp://no-such-host.invalid:5000", "--insecure-bind"]
    ended = subprocess.run(
        [*command, "--store", str(tmp_path / "periodic.db")], capture_output=True, text=True, check=False, timeout=30
    )
    assert ended.returncode == 4
    assert "cannot listen on tcp://no-such-host.invalid:5000: " in ended.stderr
    assert "Unknown error" not in ended.stderr


@pytest.mark.parametrize("is_running", [True, False])
def test_a_daemon_that_stops_in_order_leaves_its_counts_to_the_next_start(tmp_path: Path, is_running: bool) -> None:
    with Daemon(tmp_path) as daemon:
        raw = Raw(daemon)
        raw.ask("submit", {"func": "f", "name": "a"})
        if is_running:  # then the stop has a claim to write
            raw.ask("subscribe", "f")
        raw.socket.close()
    with closing(sqlite3.connect(daemon.store)) as db:
        assert db.execute("SELECT counted FROM daemon").fetchone() == (1,)
        assert db.execute("SELECT * FROM counts").fetchall() == [("f", 1, 0, 0, 0)]
