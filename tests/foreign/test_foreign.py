"""MessagePack-RPC libraries that know nothing of this project, as clients and as a worker of the real daemon."""

import base64
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Program = Callable[[str], Any]

BINARY = base64.b64encode(b"\x00\xff\x80").decode()
"""What both programs use where bytes are wanted: it is not UTF-8."""


def counts(status: dict[str, Any]) -> dict[str, tuple[int, int]]:
    """Of each function: the jobs waiting and running."""
    return {each["func"]: (each["waiting"], each["running"]) for each in status["functions"]}


def test_a_client_has_all_that_it_asks_for_and_survives_its_errors(client: Program) -> None:
    seen = client("calls")
    assert seen["hello"]["protocol"] == 1
    assert seen["hello"]["limits"]["batch_jobs"] == 1000
    assert seen["submit"] == {"result": "created", "id": 1}
    assert seen["invalid"] == "INVALID path=job.name: job.name is empty"
    assert seen["batch"] == {"results": ["created", "replaced"], "ids": [2, 3]}, "in the order of the jobs"
    assert seen["unknown"].startswith("UNKNOWN_METHOD: there is no method 'sumbit'")
    job = seen["get"]["job"]
    assert (job["func"], job["name"], job["state"], job["attempt"]) == ("resize", "a.jpg", "waiting", 0)
    assert (job["workload"], job["reason"]) == (BINARY, None)
    assert (job["retry"]["limit"], job["retry"]["backoff"]) == (3, "fixed")
    assert job["due_at_ms"] >= seen["hello"]["now_at_ms"] + 60_000
    assert [each["name"] for each in seen["list"]["jobs"]] == ["a.jpg", "b.jpg"]
    assert seen["list"]["next"] is None
    assert seen["remove"] == {"result": "removed"}
    assert (seen["absent"]["result"], seen["absent"]["job"]) == ("absent", None)
    assert seen["status"]["connections"] == 1
    assert counts(seen["status"]) == {"resize": (1, 0)}


def test_a_client_submits_a_thousand_jobs(client: Program) -> None:
    seen = client("many")
    assert Counter(seen["results"]) == {"created": 1000}
    assert counts(seen["status"]) == {"many": (1000, 0)}


def test_a_worker_runs_a_thousand_jobs(nvim: Program) -> None:
    seen = nvim("work")
    assert sorted(seen["requests"]) == sorted(["perform", str(number)] for number in range(1000)), "each of them once"
    assert counts(seen["status"]) == {}, "all are done"


def test_a_worker_ends_runs_in_every_way(nvim: Program) -> None:
    seen = nvim("outcomes")
    jobs = seen["jobs"]
    assert [name for name, job in jobs.items() if job is None] == ["nil", "bytes", "chained", "finished", "removed"]
    assert (jobs["raised"]["state"], jobs["raised"]["failures"]) == ("waiting", 1)
    assert jobs["raised"]["reason"].startswith("ValueError('disk full')\nTraceback ")
    assert (jobs["refused"]["state"], jobs["refused"]["reason"]) == ("waiting", "not today")
    assert (jobs["hopeless"]["state"], jobs["hopeless"]["reason"]) == ("dead", "not a picture")
    assert (jobs["later"]["state"], jobs["later"]["failures"], jobs["later"]["attempt"]) == ("waiting", 0, 1)
    assert (seen["follow_on"]["state"], seen["follow_on"]["workload"]) == ("waiting", BINARY)
    lost = seen["handles"]["removed"]
    ((method, (handle, kind, _)),) = seen["notifications"]
    assert (method, handle, kind) == ("notice", lost, "lost"), "for the run whose job was taken away, and for no other"


def test_a_library_of_requests_and_responses_alone_makes_a_worker(nvim: Program) -> None:
    seen = nvim("asks")
    assert seen["taken"] == ["a", "b", "c"]
    assert seen["late"].startswith("LEASE_LOST: ")
    assert (seen["watched"]["ending"], seen["watched"]["data"]) == ("done", BINARY)


@pytest.mark.timeout(200)
def test_a_client_and_a_surviving_worker_that_a_stranger_wrote_from_the_page_alone() -> None:
    """In Node, and a blocking worker in Python: vectors, 400 jobs, the daemon killed three times, links cut."""
    node = Path(sys.executable).with_name("node")
    ended = subprocess.run(
        [node, Path(__file__).parent / "node" / "check.mjs", sys.executable],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.stdout.rstrip().endswith("PASS"), ended.stdout + ended.stderr
