"""What users of other job systems complain of (docs/lessons.md), tried on the real daemon."""

import socket
import sqlite3
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from periodicd import retry
from rig.daemon import Daemon, DidNotStart
from tests.daemon.raw import Raw
from tests.model.link import Link


@pytest.fixture
def connect(daemon: Daemon) -> Iterator[Any]:
    with ExitStack() as open_links:
        yield lambda: open_links.enter_context(closing(Link(daemon)))


def given(worker: Link) -> tuple[int, dict[str, Any]]:
    """The next job that the daemon gives out, with the number to answer under."""
    while not worker.performs:
        worker.hear()
    return worker.performs.pop(0)


def test_no_byte_of_a_text_keeps_a_failure_from_being_stored(daemon: Daemon, connect: Any, tmp_path: Path) -> None:
    func, name, header = "f\0\u2028", "n\0'\"%_", {"h\0": "v\0\n"}
    reason = "\0not\0 a picture: \x1b[2J\ufffe" + "é" * 1000
    worker = connect()
    worker.ask("submit", {"func": func, "name": name, "headers": header, "retry": {"limit": 0}})
    worker.ask("subscribe", func)
    msgid, job = given(worker)
    assert (job["name"], job["headers"]) == (name, header)
    worker.raw.send([1, msgid, reason, None])
    worker.ask("ping")
    kept = reason.encode()[:1000].decode(errors="ignore")
    copy = tmp_path / "copy.db"
    subprocess.run(["sqlite3", daemon.store, f"VACUUM INTO '{copy}'"], check=True)
    daemon.kill()
    copy.replace(daemon.store)
    for suffix in ("-wal", "-shm"):
        daemon.store.with_name(daemon.store.name + suffix).unlink()
    daemon.start()
    (listed,) = connect().ask("list", {"func": func, "state": "dead"})["jobs"]
    assert (listed["name"], listed["headers"], listed["reason"]) == (name, header, kept)
    assert connect().ask("requeue", func, name)["result"] == "requeued"


def test_of_many_who_submit_a_name_at_once_one_is_first(connect: Any) -> None:
    clients = [connect() for _ in range(50)]
    for client in clients:
        client.send("submit", {"func": "f", "name": "n", "existing": "refuse"})
    results = [client.hear()[3]["result"] for client in clients]
    assert sorted(results) == ["created"] + ["refused"] * 49


def test_a_rare_function_is_served_beside_a_busy_one_of_the_same_worker(connect: Any) -> None:
    client, worker = connect(), connect()
    client.ask("submit_batch", [{"func": "busy", "name": str(number)} for number in range(1000)])
    worker.ask("hello", {"credit": 2})
    for func in ("busy", "rare"):
        worker.ask("subscribe", func, {"limit": 2})
    client.ask("submit", {"func": "rare", "name": "n"})
    funcs: list[str] = []
    while "rare" not in funcs:
        msgid, job = given(worker)
        funcs.append(job["func"])
        worker.raw.send([1, msgid, None, None])
    assert len(funcs) <= 5, "those that were under way, and its turn"


def test_each_of_many_functions_has_its_turn_at_a_worker_that_runs_one_job_at_a_time(connect: Any) -> None:
    client, worker = connect(), connect()
    funcs = {str(number) for number in range(300)}
    for name in ("first", "second"):
        client.ask("submit_batch", [{"func": func, "name": name} for func in funcs])
    worker.ask("hello", {"credit": 1})
    for func in funcs:
        worker.ask("subscribe", func)
    for _ in range(2):
        turns = []
        for _ in funcs:
            msgid, job = given(worker)
            turns.append(job["func"])
            worker.raw.send([1, msgid, None, None])
        assert set(turns) == funcs


def test_jobs_that_nobody_serves_hold_nobody_up(connect: Any) -> None:
    client, worker = connect(), connect()
    for batch in range(3):
        jobs = [{"func": "nobody", "name": f"{batch} {number}", "priority": -100} for number in range(1000)]
        client.ask("submit_batch", jobs)
    worker.ask("subscribe", "somebody")
    client.ask("submit", {"func": "somebody", "name": "n"})
    assert given(worker)[1]["name"] == "n"


@pytest.mark.parametrize("folder", ["a b%20c#d?e=f", "ü☃", "-x", "q'\"", "file:x"])
def test_a_store_may_lie_in_any_folder(tmp_path: Path, folder: str) -> None:
    (tmp_path / folder).mkdir()
    with Daemon(tmp_path / folder) as daemon, closing(Link(daemon)) as client:
        client.ask("submit", {"func": "f", "name": "n"})
        assert client.ask("list")["jobs"][0]["name"] == "n"
        files = {path.name for path in (tmp_path / folder).iterdir()}
    assert files >= {"periodic.db", "periodic.db-wal", "periodic.db.lock"}


def test_a_locale_without_unicode_is_none_of_the_daemon_s_business(tmp_path: Path) -> None:
    env = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    with Daemon(tmp_path, env=env) as daemon, closing(Link(daemon)) as client:
        client.ask("hello", {"client": "schnörkel"})
        client.ask("submit", {"func": "größer", "name": "日本.jpg"})
        client.ask("subscribe", "größer")
        assert given(client)[1]["name"] == "日本.jpg"
        client.raw.socket.close()
        with closing(Link(daemon)) as other:
            assert other.ask("get", "größer", "日本.jpg")["job"]["name"] == "日本.jpg"


def once_it_is_there(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(5)
    while True:
        try:
            # No event tells that another process listens.
            sock.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            time.sleep(0.01)
        else:
            return sock


def test_a_socket_that_is_swept_away_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with Daemon(tmp_path, listen=f"unix://{path}") as daemon:
        path.unlink()
        once_it_is_there(path).close()
        while "was removed" not in daemon.said:
            time.sleep(0.01)  # lines are written by a thread
    assert not path.exists()


def test_the_socket_of_another_daemon_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with Daemon(tmp_path, listen=f"unix://{path}"):
        path.unlink()
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(path))
            other.listen()
            time.sleep(2)  # it looks each second
    assert path.exists()


@pytest.mark.parametrize(
    ("listen", "reason"),
    [(f"unix:///tmp/{'x' * 200}", "AF_UNIX path too long"), ("tcp://a..b:5000", "no name of a host")],
)
def test_an_address_that_the_system_does_not_take_is_told_with_its_reason(
    tmp_path: Path, listen: str, reason: str
) -> None:
    with pytest.raises(DidNotStart) as caught:
        Daemon(tmp_path, "--insecure-bind", listen=listen).start()
    assert caught.value.code in (2, 4)
    assert reason in str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_a_health_check_that_says_nothing_leaves_no_line(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon:
        host, port = daemon.url.removeprefix("tcp://").split(":")
        for _ in range(3):
            with socket.create_connection((host, int(port))) as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # it resets
        with closing(Raw(daemon).socket), closing(Raw(daemon).socket):
            time.sleep(0.2)
    assert "broke" not in daemon.said


def test_jobs_that_failed_together_do_not_come_back_together_at_their_cap() -> None:
    rule = retry.Retry(1000, "fixed", 60_000, 60_000, 50)
    waits = [retry.wait_ms(rule, 3, job_id) or 0 for job_id in range(1000)]
    assert max(waits) <= 60_000
    assert len(set(waits)) > 900


def test_many_dead_jobs_are_forgotten_while_others_are_served(tmp_path: Path) -> None:
    with Daemon(tmp_path, "--dead-kept", "1000") as daemon:
        raw = Raw(daemon)
        raw.ask("submit", {"func": "f", "name": "x"})
        raw.socket.close()
    with closing(sqlite3.connect(tmp_path / "periodic.db")) as db, db:
        db.row_factory = sqlite3.Row
        row = dict(db.execute("SELECT * FROM jobs").fetchone()) | {"state": 2, "reason": ""}
        db.execute("DELETE FROM jobs")
        db.executemany(
            f"INSERT INTO jobs ({','.join(row)}) VALUES ({','.join('?' * len(row))})",
            (
                tuple((row | {"id": i, "name": str(i), "ended_at_ms": int(time.time() * 1000)}).values())
                for i in range(1, 100_001)
            ),
        )
        db.execute("UPDATE daemon SET next_id = 1000000, counted = 0")
    with Daemon(tmp_path, "--dead-kept", "1000") as daemon:
        raw = Raw(daemon)
        raw.ask("ping")
        dead = raw.ask("status")["functions"][0]["dead"]
        assert dead > 1000, "the first answer did not wait for all"
        while raw.ask("status")["functions"][0]["dead"] > 1000:
            time.sleep(0.05)
        raw.socket.close()
