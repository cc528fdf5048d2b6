"""Places and descriptors: who vanished gives up its place, and who has no file for more goes on with what it has."""

import json
import resource
import socket
import subprocess
import sys
import time
from pathlib import Path

import trio

from periodic_client.session import open_stream
from periodicd import cli
from periodicd.net import server
from rig.daemon import Daemon
from tests.daemon.raw import Raw

JOB = {"func": "f", "name": "a"}
KEEPALIVE_TIMER = "02"


def timer_of(near: tuple[str, int], far: tuple[str, int]) -> str:
    """Which timer runs at the near end of a connection of this machine; proc_net_tcp of the kernel's documentation."""
    ends = [f"{int.from_bytes(socket.inet_aton(host), sys.byteorder):08X}:{port:04X}" for host, port in (near, far)]
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    (row,) = (row for row in rows if row[1:3] == ends)
    return row[5].split(":")[0]


def idle_for(seconds: float) -> None:
    """No event ends the wait: that nothing is said for so long is the case."""
    time.sleep(seconds)


def test_when_all_places_are_taken_the_longest_idle_gives_up_its_own(tmp_path: Path) -> None:
    with Daemon(tmp_path, "--connections", "4") as daemon:
        idle, worker, waits, active = (Raw(daemon) for _ in range(4))
        idle.ask("ping")
        worker.ask("subscribe", "f")
        idle_for(server.IDLE_MS / 1000 + 0.5)
        active.ask("ping")
        waits.ask("ping")
        late = Raw(daemon)
        assert late.ask("ping") == {}
        assert idle.ends_with() == "SILENT: idle, and its place was needed for another connection"
        for raw in (worker, active, waits, late):
            assert raw.ask("ping", msgid=2) == {}
        refused = Raw(daemon)
        assert refused.ends_with() == "BUSY: the daemon has 4 connections"
        for raw in (idle, worker, waits, active, late, refused):
            raw.socket.close()


def test_a_full_daemon_can_be_stopped_by_its_command(tmp_path: Path) -> None:
    with Daemon(tmp_path, "--connections", "3") as daemon:
        crowd = [Raw(daemon) for _ in range(3)]
        for raw in crowd:
            raw.ask("subscribe", "f")
        command = [sys.executable, "-m", "periodic_client", "--url", daemon.url]
        refused = subprocess.run([*command, "shutdown"], capture_output=True, text=True, check=False)
        assert refused.returncode != 0
        assert "BUSY: the daemon has 3 connections" in refused.stderr
        assert "may or may not have happened" not in refused.stderr
        crowd[0].ask("unsubscribe_all")
        idle_for(server.IDLE_MS / 1000 + 0.5)
        assert subprocess.run([*command, "shutdown"], check=False).returncode == 0
        assert daemon.wait() == 0
        for raw in crowd:
            raw.socket.close()


def test_connections_are_kept_alive_by_the_system(tmp_path: Path) -> None:
    with (
        Daemon(tmp_path) as daemon,
        socket.create_connection(("127.0.0.1", int(daemon.url.rpartition(":")[2]))) as mine,
    ):
        other = Raw(daemon)
        other.ask("ping")  # whoever came before it is served too
        other.socket.close()
        assert timer_of(mine.getpeername(), mine.getsockname()) == KEEPALIVE_TIMER


def test_the_client_s_end_is_kept_alive_too(tmp_path: Path) -> None:
    async def timer(url: str) -> str:
        async with await open_stream(url) as stream:
            assert isinstance(stream, trio.SocketStream)
            return timer_of(stream.socket.getsockname(), stream.socket.getpeername())

    with Daemon(tmp_path) as daemon:
        assert trio.run(timer, daemon.url) == KEEPALIVE_TIMER


def test_without_descriptors_listings_and_steps_go_on(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon:
        raw = Raw(daemon)
        raw.ask("submit", JOB)
        used = len(list(Path(f"/proc/{daemon.pid}/fd").iterdir()))
        resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (used, used))
        assert [job["name"] for job in raw.ask("list")["jobs"]] == ["a"]
        assert raw.ask("submit", JOB | {"name": "b"})["result"] == "created"
        assert raw.ask("status")["functions"][0]["waiting"] == 2
        raw.socket.close()


def test_no_more_connections_than_there_can_be_files_for(tmp_path: Path) -> None:
    limit = cli.FILES_BESIDE_CONNECTIONS + 2
    command = [sys.executable, "-m", "periodicd", "--listen", "tcp://127.0.0.1:0", "--log-format", "json"]
    process = subprocess.Popen(
        ["bash", "-c", f'ulimit -n {limit}; exec "$@"', "bash", *command, "--store", str(tmp_path / "periodic.db")],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    said = [json.loads(process.stderr.readline())["message"] for _ in range(2)]
    assert said[0] == f"5000 connections need more open files than the {limit} allowed here (ulimit -Hn): 2 may be open"
    port = int(said[1].rpartition(":")[2])
    first, second, third = (socket.create_connection(("127.0.0.1", port)) for _ in range(3))
    assert b"BUSY: the daemon has 2 connections" in third.recv(1000)
    for each in (first, second, third):
        each.close()
    process.terminate()
    assert process.wait(20) == 0
    process.stderr.close()
