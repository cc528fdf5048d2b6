"""`image-workers submit-dir`: a folder comes in, again only where it changed; and `check`, which looks only."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from image_workers.folders import RECORD
from periodic_client import Client, FunctionSettings
from rig.daemon import Daemon

CONFIG = "root: images\nenable-remove: true\nmax-megabytes: 1\nresizes: [{width: 64}]\n"
PICTURES = Path(__file__).parent.parent.parent / "demo" / "pictures"
SMALL = PICTURES / "extreme-desert-hike.jpg"


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    (tmp_path / "config.yml").write_text(CONFIG)
    with Daemon(tmp_path) as daemon:
        yield daemon


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three pictures, and what is none."""
    folder = tmp_path / "photos"
    (folder / "2024").mkdir(parents=True)
    content = SMALL.read_bytes()
    for name in ("a.jpg", "2024/b.jpg", "2024/c d.jpg"):
        (folder / name).write_bytes(content + name.encode())
    (folder / ".hidden.jpg").write_bytes(content)
    (folder / "link.jpg").symlink_to(SMALL)
    return folder


def command(folder: Path, daemon_url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "image_workers", *arguments],
        cwd=folder, env=os.environ | {"PERIODIC_URL": daemon_url}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def jobs(daemon: Daemon) -> dict[tuple[str, str], int]:
    """Function and name of each job, with its id, which is another one when it was submitted again."""

    async def listed() -> dict[tuple[str, str], int]:
        async with Client(daemon.url) as client:
            return {(job["func"], job["name"]): job["id"] async for job in client.list()}

    return trio.run(listed)


def count(found: dict[tuple[str, str], int]) -> int:
    """Of pictures."""
    return sum(1 for func, _ in found if func == "resize")


def test_what_is_unchanged_is_skipped_and_what_is_new_or_other_is_submitted(
    tmp_path: Path, daemon: Daemon, folder: Path
) -> None:
    first = command(tmp_path, daemon.url, "submit-dir", "photos")
    assert (first.returncode, first.stdout, first.stderr) == (0, "3 submitted, 0 unchanged, 0 left\n", "")
    submitted = jobs(daemon)
    names = ["2024/b.jpg", "2024/c d.jpg", "a.jpg"]
    assert sorted(submitted) == sorted(
        (func, name) for func in ("upload-next-compress", "resize", "remove") for name in names
    )
    assert (tmp_path / "images/2024/b.jpg").read_bytes() == (folder / "2024/b.jpg").read_bytes()
    again = command(tmp_path, daemon.url, "submit-dir", "photos")
    assert again.stdout == "0 submitted, 3 unchanged, 0 left\n"
    assert jobs(daemon) == submitted
    (folder / "a.jpg").write_bytes(SMALL.read_bytes() + b"other")
    (folder / "e.jpg").write_bytes(SMALL.read_bytes())
    os.utime(folder / "2024/b.jpg", (1, 1))  # copied anew, with the same content
    changed = command(tmp_path, daemon.url, "submit-dir", "photos")
    assert changed.stdout == "2 submitted, 2 unchanged, 0 left\n"
    assert {name for key, name in jobs(daemon).keys() - submitted.keys()} == {"e.jpg"}
    assert jobs(daemon)["resize", "a.jpg"] != submitted["resize", "a.jpg"]
    assert jobs(daemon)["resize", "2024/b.jpg"] == submitted["resize", "2024/b.jpg"]
    assert command(tmp_path, daemon.url, "submit-dir", "photos", "--again").stdout.startswith("4 submitted")


def test_what_cannot_be_submitted_is_left_and_named(tmp_path: Path, daemon: Daemon, folder: Path) -> None:
    (folder / "notes.txt").write_text("no picture")
    (folder / "page.html").write_bytes(SMALL.read_bytes())
    (folder / "large.jpg").write_bytes(SMALL.read_bytes() + bytes(1_000_000))
    (folder / "x_fw64.jpg").write_bytes(SMALL.read_bytes())
    ended = command(tmp_path, daemon.url, "submit-dir", "photos")
    assert (ended.returncode, ended.stdout) == (3, "3 submitted, 0 unchanged, 4 left\n")
    left = dict(re.findall(r"^image-workers: left (\S+): (.*)$", ended.stderr, re.MULTILINE))
    assert "does not begin as a JPEG" in left["notes.txt"]
    assert "text/html" in left["page.html"]
    assert left["large.jpg"] == "it is larger than 1 MB (max-megabytes)"
    assert "marks a thumbnail" in left["x_fw64.jpg"]


@pytest.mark.parametrize("then", ["", "then: told\n"])
def test_a_function_that_may_have_no_more_jobs_ends_it_with_75(
    tmp_path: Path, daemon: Daemon, folder: Path, then: str
) -> None:
    (tmp_path / "config.yml").write_text(CONFIG + then)

    async def limit(count: int | None) -> None:
        async with Client(daemon.url) as client:
            await client.set_function("resize", FunctionSettings(queue_max=count))

    trio.run(limit, 1)
    ended = command(tmp_path, daemon.url, "submit-dir", "photos")
    assert (ended.returncode, ended.stdout) == (75, "")
    assert "queue_max allows" in ended.stderr
    assert count(jobs(daemon)) == 1
    trio.run(limit, None)
    assert command(tmp_path, daemon.url, "submit-dir", "photos").stdout == "2 submitted, 1 unchanged, 0 left\n"


def test_without_a_daemon_nothing_is_written(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "config.yml").write_text(CONFIG)
    ended = command(tmp_path, f"unix://{tmp_path}/none.sock", "submit-dir", "photos")
    assert ended.returncode == 5
    assert list((tmp_path / "images").glob("*.jpg")) == []
    assert (folder / RECORD).read_bytes() == b""


def test_it_goes_on_where_it_was_killed(tmp_path: Path, daemon: Daemon, folder: Path) -> None:
    for number in range(200):
        (folder / f"{number}.jpg").write_bytes(SMALL.read_bytes() + b"%d" % number)
    arguments = [sys.executable, "-m", "image_workers", "submit-dir", "photos"]
    environment = os.environ | {"PERIODIC_URL": daemon.url}
    with subprocess.Popen(arguments, cwd=tmp_path, env=environment) as process:
        while count(jobs(daemon)) < 20:
            pass
        process.kill()
    known_to_daemon = count(jobs(daemon))
    with (folder / RECORD).open("ab") as record:
        record.write(b'{"half a li')
    known = sum(1 for line in (folder / RECORD).read_bytes().splitlines() if line.endswith(b"}"))
    ended = command(tmp_path, daemon.url, "submit-dir", "photos")
    assert ended.stdout == f"{203 - known} submitted, {known} unchanged, 0 left\n"
    assert 19 <= known < 203
    assert known >= known_to_daemon - 1
    assert len(jobs(daemon)) == 3 * 203
    assert json.loads((folder / RECORD).read_bytes().splitlines()[-1])["size"] > 0


def test_on_a_terminal_there_is_a_bar_and_an_interrupt_ends_it_in_order(
    tmp_path: Path, daemon: Daemon, folder: Path
) -> None:
    for number in range(1_000):
        (folder / f"{number}.jpg").write_bytes(SMALL.read_bytes() + b"%d" % number)
    ours, theirs = pty.openpty()
    arguments = [sys.executable, "-m", "image_workers", "submit-dir", "photos"]
    environment = os.environ | {"PERIODIC_URL": daemon.url, "TERM": "xterm", "COLUMNS": "80"}
    heed = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731 - a shell's background ignores it
    with subprocess.Popen(
        arguments, cwd=tmp_path, env=environment, stderr=theirs, stdout=subprocess.PIPE, preexec_fn=heed
    ) as process:
        os.close(theirs)
        shown = b""
        while not re.search(rb"\d+/1003", shown):
            shown += os.read(ours, 65_536)
        process.send_signal(signal.SIGINT)
        try:
            while part := os.read(ours, 65_536):
                shown += part
        except OSError:  # how a terminal ends
            pass
        assert process.wait(20) == 130
    assert b"interrupted; give the command again to go on" in shown
    os.close(ours)


def test_check_says_what_is_right_and_what_is_not(tmp_path: Path, daemon: Daemon) -> None:
    good = command(tmp_path, daemon.url, "check")
    assert (good.returncode, good.stderr) == (0, "")
    assert good.stdout == (
        "config.yml: understood\nroot and bucket answer, encoder jpegli is there\nthe daemon answers\n"
    )
    away = command(tmp_path, f"unix://{tmp_path}/none.sock", "check")
    assert away.returncode == 5
    assert "the daemon answers" not in away.stdout
    for keys, words in [
        ("enable-guetzly: true", "is not a known key; did you mean"),
        ("root: config.yml", "config.yml cannot be used: File exists"),
        ("serve: {folder: guetzli}", "serve.folder: "),
        ("serve: {token-file: config.yml}", "holds a token, and others than its owner may read or write it"),
    ]:
        (tmp_path / "config.yml").write_text(keys)
        (tmp_path / "config.yml").chmod(0o644)
        wrong = command(tmp_path, daemon.url, "check")
        assert (wrong.returncode, words in wrong.stderr) == (2, True), wrong.stderr
