"""Metrics and health over HTTP, of the real daemon, read as Prometheus reads them."""

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from periodic_client import Client, Done, Failed, Later, NewJob
from periodicd.net.health import CONNECTIONS_MAX
from rig.daemon import Daemon
from tests.daemon.raw import Raw

Samples = dict[tuple[str, str], float]
"""By name, and function or other label."""


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def daemon(tmp_path: Path, port: int) -> Iterator[Daemon]:
    with Daemon(tmp_path, "--metrics", f"tcp://127.0.0.1:{port}") as daemon:
        yield daemon


def get(port: int, path: str, method: str = "GET") -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def samples(port: int) -> Samples:
    status, text = get(port, "/metrics")
    assert status == 200
    return {
        (sample.name, sample.labels.get("le") or sample.labels.get("func", "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_what_happened_is_counted_by_function(daemon: Daemon, port: int) -> None:
    async with Client(daemon.url) as client:
        await client.submit_batch([NewJob("f", name) for name in "abcd"])
        await client.submit(NewJob("f", "later", delay_ms=3_600_000))
        runs = await client.take("f", max=4)
        await client.finish(runs[0].handle, Done())
        await client.finish(runs[1].handle, Failed("no", final=True))
        await client.finish(runs[2].handle, Later(3_600_000))
        found = samples(port)
        told = {name: found[f"periodicd_jobs_{name}_total", "f"] for name in ("submitted", "started", "done", "failed")}
        assert told == {"submitted": 5, "started": 4, "done": 1, "failed": 1}
        assert found["periodicd_jobs_later_total", "f"] == 1
        states = {name: found[f"periodicd_function_{name}", "f"] for name in ("waiting", "running", "dead")}
        assert states == {"waiting": 2, "running": 1, "dead": 1}
        assert found["periodicd_lateness_seconds_count", "f"] == 4
        assert found["periodicd_run_seconds_count", "f"] == found["periodicd_run_seconds_bucket", "+Inf"] == 3
        assert found["periodicd_commits_total", ""] > 0
        status = await client.status()
        assert status["submitted"] == 5, "as anybody is told"


async def test_a_run_whose_connection_was_lost_is_counted(daemon: Daemon, port: int) -> None:
    async with Client(daemon.url) as client:
        worker = Raw(daemon)
        worker.ask("subscribe", "f")
        await client.submit(NewJob("f", "a"))
        assert worker.receive()[2] == "perform"
        worker.socket.close()
        await client.take("f")
    assert samples(port)["periodicd_runs_lost_total", "f"] == 1


async def test_beyond_so_many_functions_they_are_one(daemon: Daemon, port: int) -> None:
    async with Client(daemon.url) as client:
        await client.submit_batch([NewJob(f"f{number}", "a") for number in range(250)])
    found = samples(port)
    submitted = {func: value for (name, func), value in found.items() if name == "periodicd_jobs_submitted_total"}
    assert (len(submitted), submitted["other"], sum(submitted.values())) == (201, 50, 250)
    assert found["periodicd_function_waiting", "other"] == 50


def test_health_and_readiness(daemon: Daemon, port: int) -> None:
    assert get(port, "/healthz") == get(port, "/readyz?x=1") == (200, "ok\n")


def test_a_daemon_that_stops_is_not_ready(daemon: Daemon, port: int) -> None:
    worker = Raw(daemon)
    worker.ask("subscribe", "f")
    worker.send([0, 2, "submit", [{"func": "f", "name": "a"}]])
    messages = [worker.receive() for _ in range(2)]
    (perform,) = (message for message in messages if message[0] == 0)
    os.kill(daemon.pid, signal.SIGTERM)
    assert worker.receive()[1] == "notice", "it has begun to stop"
    assert get(port, "/readyz") == (503, "the daemon is stopping\n")
    assert get(port, "/healthz") == (200, "ok\n")
    worker.send([1, perform[1], None, None])
    worker.socket.close()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n", b"404"),
        (b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", b"405"),
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET /metrics HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 40_000, b"431"),
        (b"GET \xff HTTP/1.1\r\nHost: x\r\n\r\n", b"400"),
        (b"", b""),
    ],
)
def test_what_cannot_be_answered(daemon: Daemon, port: int, sent: bytes, status: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
        try:
            sock.sendall(sent)
            sock.shutdown(socket.SHUT_WR)
            answer = sock.recv(4_096)
        except OSError:  # closed before all was read, which may come before the answer
            answer = b"HTTP/1.1 431"
    assert answer.partition(b" ")[2][:3] == status
    assert get(port, "/healthz")[0] == 200


def test_who_asks_nothing_holds_no_place_for_long(daemon: Daemon, port: int) -> None:
    silent = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(CONNECTIONS_MAX)]
    try:
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            get(port, "/healthz")
    finally:
        for sock in silent:
            sock.close()
    assert get(port, "/healthz")[0] == 200


def test_without_what_it_needs_it_says_what_to_install(tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['h11'] = None; sys.argv[0] = 'periodicd'; import periodicd.__main__ as m; m.main()"
    )
    command = [sys.executable, "-c", program, "--store", str(tmp_path / "a.db"), "--metrics", "tcp://127.0.0.1:9500"]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert (ended.returncode, "pip install 'periodicd[metrics]'" in ended.stderr) == (2, True)


def test_other_machines_reach_it_only_if_that_is_said(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "periodicd", "--store", str(tmp_path / "a.db"), "--metrics", "tcp://0.0.0.0:0"]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert (ended.returncode, "can be reached from other machines" in ended.stderr) == (2, True)


# -- what is made of them ----------------------------------------------------------------------------------------------

PACKAGING = Path(__file__).parent.parent.parent / "packaging"


def expressions() -> list[str]:
    rules = yaml.safe_load((PACKAGING / "prometheus-rules.yml").read_text())
    board = json.loads((PACKAGING / "grafana-board.json").read_text())
    alerts = [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    return alerts + [target["expr"] for panel in board["panels"] for target in panel["targets"]]


async def test_the_alerts_and_the_board_ask_for_what_there_is(daemon: Daemon, port: int) -> None:
    async with Client(daemon.url) as client:
        await client.submit(NewJob("f", "a"))
        (run,) = await client.take("f")
        await client.finish(run.handle)
    there = {name for name, _ in samples(port)} | {"up"}
    asked = {name for each in expressions() for name in re.findall(r"\b(?:periodicd_\w+|up)\b", each)}
    assert len(asked) > 10
    assert asked <= there


def test_promtool_takes_the_alerts() -> None:
    """Prometheus' own check, where it is installed; the shape of the file in any case."""
    rules = yaml.safe_load((PACKAGING / "prometheus-rules.yml").read_text())
    for group in rules["groups"]:
        for rule in group["rules"]:
            assert {"alert", "expr", "for", "labels", "annotations"} == rule.keys()
    if promtool := shutil.which("promtool"):
        subprocess.run([promtool, "check", "rules", PACKAGING / "prometheus-rules.yml"], check=True)
