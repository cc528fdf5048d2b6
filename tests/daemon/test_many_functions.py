"""``periodic status`` of more functions than an answer may hold, by the real daemon."""

import json
import os
import subprocess
import sys

import trio

from periodic_client import Client, NewJob
from periodic_client.wire.limits import LISTING_MAX
from rig.daemon import Daemon

FUNCTIONS = [f"function-{number:05}" for number in range(2 * LISTING_MAX + 500)]


def status(daemon: Daemon, *arguments: str) -> str:
    command = [sys.executable, "-m", "periodic_client", "status", *arguments]
    env = os.environ | {"PERIODIC_URL": daemon.url}
    return subprocess.run(command, env=env, capture_output=True, text=True, check=True, timeout=60).stdout


def test_status_tells_of_all_functions_page_by_page(daemon: Daemon) -> None:
    async def submit() -> None:
        async with Client(daemon.url) as client:
            for begin in range(0, len(FUNCTIONS), 1000):
                await client.submit_batch(
                    NewJob(func, "n", delay_ms=3_600_000) for func in FUNCTIONS[begin : begin + 1000]
                )

    trio.run(submit)
    answer = json.loads(status(daemon, "--json"))
    assert [each["func"] for each in answer["functions"]] == FUNCTIONS
    assert all(each["waiting"] == 1 for each in answer["functions"])
    assert answer["next"] is None
    lines = status(daemon).split("\n\n")[1].splitlines()
    assert [line.split("\t")[0] for line in lines] == ["func", *FUNCTIONS]
    assert len(status(daemon, "--prefix", "function-021").split("\n\n")[1].splitlines()) == 101
