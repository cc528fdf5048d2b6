"""A worker as a program of its own, with functions that take as long as their workload says."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

PROGRAM = """
import time, trio
from periodic_client import Job, Worker
worker = Worker(disconnect_grace_ms=0, drain_s={drain_s})
@worker.function("interrupt")
async def interrupt(job: Job) -> None:
    raise KeyboardInterrupt
@worker.function("f")
async def in_task(job: Job) -> None:
    print("begun", flush=True)
    await trio.sleep(float(job.workload))
@worker.function("t")
def in_thread(job: Job) -> None:
    print("begun", flush=True)
    time.sleep(float(job.workload))
@worker.function("vandal")
async def vandal(job: Job) -> None:
    print("begun", flush=True)
    del job.handle
worker.main()
"""


@contextmanager
def program(source: str, url: str) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-c", source]
    env = os.environ | {"PERIODIC_URL": url}
    with subprocess.Popen(command, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()
