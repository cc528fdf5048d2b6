"""The examples, each run as its opening says, against the real daemon."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.daemon import Daemon

EXAMPLES = Path(__file__).parent.parent / "examples"
TESTED = {"long_job.py", "submit.py", "worker.py"}


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with Daemon(tmp_path) as daemon:
        yield daemon


@contextmanager
def started(example: str, daemon: Daemon) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-u", str(EXAMPLES / example)]
    env = os.environ | {"PERIODIC_URL": daemon.url}
    with subprocess.Popen(command, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def said(example: str, daemon: Daemon) -> list[str]:
    with started(example, daemon) as process:
        output, errors = process.communicate()
    assert process.returncode == 0, errors
    return output.splitlines()


def test_every_example_is_tested() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == TESTED


def test_a_long_job_extends_its_lease_to_the_end(daemon: Daemon) -> None:
    assert said("long_job.py", daemon) == ["created", *(f"step {step}" for step in range(8))]


def test_what_is_submitted_is_run_by_the_worker(daemon: Daemon) -> None:
    told = said("submit.py", daemon)
    assert [re.sub(r"\d{13}", "T", line) for line in told] == [
        "reminder: created 1",
        "receipt: created",
        "receipt: kept",
        "batch: created created created",
        "waiting: remind ann due T",
        "waiting: shout order 17 due T",
        *(f"waiting: shout {word} due T" for word in ("hello", "timed", "world")),
    ]
    with started("worker.py", daemon) as worker:
        assert worker.stdout is not None
        assert {worker.stdout.readline().strip() for _ in range(5)} == {
            "ann: the kettle is on", "THANK YOU (in en)", "HELLO", "TIMED", "WORLD",
        }  # fmt: skip
        worker.send_signal(signal.SIGTERM)
        output, errors = worker.communicate()
        assert (worker.returncode, output) == (0, ""), errors
    assert "subscribed to remind, shout, print" in errors
