"""`periodicd backup`, `restore` and `check`, as a person runs them beside the real daemon."""

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from rig.daemon import Daemon
from tests.daemon.command import Ended, periodic


def periodicd(*arguments: str | Path) -> Ended:
    return subprocess.run([sys.executable, "-m", "periodicd", *arguments], capture_output=True, text=True)


def test_a_backup_of_a_working_daemon_is_restored(daemon: Daemon, tmp_path: Path) -> None:
    for name in "ab":
        assert periodic(daemon, "submit", "f", name, "--in", "1h", "--priority", "3").returncode == 0
    copy, store = tmp_path / "copy.db", daemon.store
    ended = periodicd("--store", store, "backup", copy)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith(f"{copy}: ")
    assert periodicd("--store", store, "check").stdout == f"{store}: 2 jobs, all whole\n"
    refused = periodicd("--store", store, "restore", copy)
    assert (refused.returncode, "is in use by another periodicd" in refused.stderr) == (3, True)
    assert periodic(daemon, "submit", "f", "later").returncode == 0
    later_id = json.loads(periodic(daemon, "get", "f", "later", "--json").stdout)["id"]
    daemon.stop()
    restored = periodicd("--store", store, "restore", copy)
    assert (restored.returncode, restored.stderr) == (0, "")
    told, aside = restored.stdout.splitlines()
    assert told == f"{store}: 2 jobs of {copy}"
    replaced = Path(aside.removeprefix("what was there is ").removesuffix(" now"))
    assert periodicd("check", replaced).stdout == f"{replaced}: 3 jobs, all whole\n"
    daemon.start()
    jobs = [json.loads(line) for line in periodic(daemon, "list", "--json").stdout.splitlines()]
    listed = jobs[0] if isinstance(jobs[0], list) else jobs
    assert [(job["name"], job["priority"]) for job in listed] == [("a", 3), ("b", 3)]
    assert periodic(daemon, "submit", "f", "next").returncode == 0
    assert json.loads(periodic(daemon, "get", "f", "next", "--json").stdout)["id"] > later_id


def test_check_says_what_is_wrong_and_mends_it(daemon: Daemon) -> None:
    assert periodic(daemon, "submit", "f", "a", "--in", "1h").returncode == 0
    daemon.kill()
    with closing(sqlite3.connect(daemon.store)) as db:
        db.execute("UPDATE jobs SET state = 1")
        db.commit()
    found = periodicd("--store", daemon.store, "check")
    sentence = "1 jobs that run, and no run of them is known (ids 1): "
    assert (found.returncode, found.stdout) == (1, f"{sentence}--repair: they wait again\n")
    told = json.loads(periodicd("check", daemon.store, "--json").stdout)
    assert told["findings"] == [
        {"what": "jobs that run, and no run of them is known", "found": 1, "ids": [1], "mend": "they wait again"}
    ]
    mended = periodicd("--store", daemon.store, "check", "--repair")
    assert (mended.returncode, mended.stdout.splitlines()[0]) == (0, f"{sentence}they wait again")
    daemon.start()
    assert json.loads(periodic(daemon, "get", "f", "a", "--json").stdout)["state"] == "waiting"


def test_a_store_in_memory_has_no_file(tmp_path: Path) -> None:
    ended = periodicd("--store", ":memory:", "backup", tmp_path / "copy")
    assert (ended.returncode, "the store is in memory" in ended.stderr) == (2, True)
    ended = periodicd("check", tmp_path / "absent")
    assert (ended.returncode, ended.stderr) == (3, f"periodicd: there is no {tmp_path / 'absent'}\n")
