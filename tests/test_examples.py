"""The examples, each run as its opening says, and those on the pages, taken from there; against the real daemon."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio
from PIL import Image

from periodic_client import Worker
from rig.daemon import Daemon

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
TESTED = {"long_job.py", "submit.py", "worker.py", "worker.sh"}
README, LIBRARY, IMAGES, COMMANDS = (
    (ROOT / name).read_text() for name in ("README.md", "docs/library.md", "docs/images.md", "docs/command-workers.md")
)
SHOWN_URL = "tcp://127.0.0.1:5000"


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with Daemon(tmp_path) as daemon:
        yield daemon


@contextmanager
def started(*arguments: str | Path, daemon: Daemon) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, *arguments]
    env = os.environ | {"PERIODIC_URL": daemon.url}
    with subprocess.Popen(command, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def working(*arguments: str | Path, daemon: Daemon) -> Iterator[Iterator[str]]:
    """A worker, which is stopped in the end; the lines that it prints."""
    with started(*arguments, daemon=daemon) as worker:
        assert worker.stdout is not None
        yield (line.strip() for line in worker.stdout)
        worker.send_signal(signal.SIGTERM)
        output, errors = worker.communicate()
        assert (worker.returncode, output) == (0, ""), errors


def said(*arguments: str | Path, daemon: Daemon) -> list[str]:
    with started(*arguments, daemon=daemon) as process:
        output, errors = process.communicate()
    assert process.returncode == 0, errors
    return output.splitlines()


def programs(page: str) -> list[str]:
    """The Python on a page."""
    return re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def whole_programs(page: str) -> list[str]:
    return [program for program in programs(page) if program.startswith(("import", "from"))]


def commands(page: str) -> list[list[str]]:
    """The lines of the shell on a page, comments left out."""
    lines = re.findall(r"^    ((?:periodic|periodicd|pip|make) .*)$", page, re.MULTILINE)
    return [shlex.split(line, comments=True) for line in lines]


def test_every_example_is_tested() -> None:
    assert {path.name for path in EXAMPLES.iterdir() if path.is_file()} == TESTED


def test_a_long_job_extends_its_lease_to_the_end(daemon: Daemon) -> None:
    assert said(EXAMPLES / "long_job.py", daemon=daemon) == ["created", *(f"step {step}" for step in range(8))]


def test_what_is_submitted_is_run_by_the_worker(daemon: Daemon) -> None:
    told = said(EXAMPLES / "submit.py", daemon=daemon)
    assert [re.sub(r"\d{13}", "T", line) for line in told] == [
        "reminder: created 1",
        "receipt: created",
        "receipt: kept",
        "batch: created created created",
        "waiting: remind ann due T",
        "waiting: shout order 17 due T",
        *(f"waiting: shout {word} due T" for word in ("hello", "timed", "world")),
    ]
    with working(EXAMPLES / "worker.py", daemon=daemon) as lines:
        assert next(lines).startswith(f"waiting for jobs at {daemon.url}; python examples/submit.py")
        assert {next(lines) for _ in range(9)} == {
            "remind ann: the kettle is on", "print order 17: THANK YOU (in en)",
            *(f"shout {word}: to be printed in a second" for word in ("order 17", "hello", "timed", "world")),
            *(f"print {word}: {word.upper()}" for word in ("hello", "timed", "world")),
        }  # fmt: skip


def test_a_shell_loop_of_six_lines_is_a_worker_for_any_bytes(daemon: Daemon) -> None:
    text = (EXAMPLES / "worker.sh").read_text()
    assert len(text[text.index("while ") :].splitlines()) == 6
    env = os.environ | {
        "PERIODIC_URL": daemon.url,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    with subprocess.Popen(["sh", EXAMPLES / "worker.sh"], env=env, start_new_session=True) as worker:
        try:
            for name, workload in (
                ("plain", b"hello, world"),
                ("it's $(touch x)\n`y`", b"\x00\xff'$(z)\n\n"),
                ("none", b""),
            ):
                command = [
                    sys.executable,
                    "-m",
                    "periodic_client",
                    "call",
                    "shout",
                    name,
                    "-w",
                    "-",
                    "--timeout",
                    "30s",
                ]
                called = subprocess.run(command, env=env, input=workload, capture_output=True, check=True)
                assert called.stdout == workload.upper()
        finally:
            os.killpg(worker.pid, signal.SIGTERM)


# -- README.md and docs/library.md -------------------------------------------------------------------------------------


def test_the_readme_s_worker_runs_what_its_command_and_its_client_submit(daemon: Daemon) -> None:
    worker, client = (program.replace(SHOWN_URL, daemon.url) for program in programs(README))
    periodic = [arguments for program, *arguments in commands(README) if program == "periodic"]
    call = periodic.pop()
    told = ["\n".join(said("-m", "periodic_client", *arguments, daemon=daemon)) for arguments in periodic]
    assert told[:2] == ["created", "created"]
    assert "state: waiting" in told[2]
    assert all(name in told[3] for name in ("world", "ann"))
    assert told[4] == "2"
    assert "greet" in told[5]
    with working("-c", worker, daemon=daemon) as lines:
        assert next(lines) == "world: hello"
        said("-c", client, daemon=daemon)
        assert next(lines) == "world: hello", "once more, a second later"
        assert said("-m", "periodic_client", *call, daemon=daemon) == []
        assert next(lines) == "bob: good day"


def test_the_readme_s_daemon_listens_where_it_says(tmp_path: Path) -> None:
    (command,) = (arguments for program, *arguments in commands(README) if program == "periodicd")
    assert SHOWN_URL in command
    command = [argument.replace(":5000", ":0") for argument in command]
    with subprocess.Popen(
        [sys.executable, "-m", "periodicd", *command], cwd=tmp_path, text=True, stderr=subprocess.PIPE
    ) as process:
        assert process.stderr is not None
        assert any("listening on tcp://127.0.0.1:" in line for line in process.stderr)
        process.terminate()
        process.communicate()
    assert process.returncode == 0
    assert (tmp_path / "periodic.db").exists()


def test_what_the_readme_says_to_make_can_be_made() -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    made = [arguments[0] for program, *arguments in commands(README) if program == "make"]
    assert made == ["demo", "test"]
    assert set(made) <= set(targets)


def test_the_library_page_s_client_and_worker_run(daemon: Daemon) -> None:
    client, caller, _, _, _, _, worker, teller = whole_programs(LIBRARY)
    assert said("-c", client, daemon=daemon) == ["created 1", "ann 0"]
    with working("-c", worker, daemon=daemon) as lines:
        said("-m", "periodic_client", "submit", "fetch", "nothing", daemon=daemon)
        said("-m", "periodic_client", "submit", "fetch", "bob", "-w", "good day", daemon=daemon)
        assert next(lines) == "bob: good day"
    shown = said("-m", "periodic_client", "get", "fetch", "nothing", daemon=daemon)
    assert "state: dead" in shown
    assert "reason: there is nothing to fetch" in shown
    with working("-c", teller, daemon=daemon) as lines:
        told = said("-c", caller, daemon=daemon)
        assert (told[0], told[-2:]) == ("HELLO", ["here is a half", "cancelled"])
        assert set(told[1:-2]) <= {"cut 0 of 2", "cut 1 of 2"}, "on a slow machine one piece of news has both"
        assert next(lines) == "stopped cutting"


def test_the_library_page_s_group_is_told_when_all_have_ended(daemon: Daemon) -> None:
    _, _, client, worker, _, _, _, _ = whole_programs(LIBRARY)
    assert said("-c", client, daemon=daemon) == ["created ['created', 'created', 'created']", "3"]
    with working("-c", worker, daemon=daemon) as lines:
        assert next(lines) == "holiday: 4 of 5 were done, 1 are dead"


async def test_the_library_page_s_broadcast_says_how_many_did_it(daemon: Daemon) -> None:
    (client,) = (program for program in programs(LIBRARY) if "broadcast=True" in program)
    workers = [Worker(daemon.url), Worker(daemon.url)]
    async with trio.open_nursery() as nursery:
        for worker in workers:
            worker.function("settings")(lambda job: None)
            await nursery.start(worker.run)
        told = await trio.to_thread.run_sync(lambda: said("-c", client, daemon=daemon))
        assert told == ["2 of 2 workers did it, 0 failed, 0 did not answer"]
        for worker in workers:
            worker.stop()


# -- docs/images.md ----------------------------------------------------------------------------------------------------


def test_the_images_page_s_worker_is_told_of_a_picture(daemon: Daemon) -> None:
    (worker,) = whole_programs(IMAGES)
    objects = [{"key": "x.jpg", "bytes": 2, "bytes_before": 3}, {"key": "x_fw64.jpg", "bytes": None, "bytes_before": 1}]
    report = json.dumps({"name": "x.jpg", "objects": objects})
    with working("-c", worker, daemon=daemon) as lines:
        said("-m", "periodic_client", "submit", "picture-finished", "x.jpg", "-w", report, daemon=daemon)
        assert [next(lines), next(lines)] == ["x.jpg: 3 -> 2 bytes", "x_fw64.jpg: 1 -> None bytes"]


def test_the_library_page_s_schedules_fire_and_are_kept_when_they_are_set_again(daemon: Daemon) -> None:
    (client,) = (program for program in programs(LIBRARY) if "set_schedule" in program)
    listed = ["nightly 30 2 * * *", "poll 1000"]
    assert said("-c", client, daemon=daemon) == ["created created", *listed]
    assert said("-c", client, daemon=daemon) == ["kept kept", *listed]
    (run,) = (
        line for line in said("-m", "periodic_client", "take", "poll", daemon=daemon) if line.startswith("job_name=")
    )
    assert re.fullmatch(r"job_name='?poll@[0-9-]+T[0-9:.]+Z'?", run)


# -- docs/command-workers.md -------------------------------------------------------------------------------------------


def shown(words: str) -> list[str]:
    """The command on the page that begins so, as arguments of Python."""
    (command,) = (each for each in commands(COMMANDS) if " ".join(each).startswith(words))
    return ["-m", "periodic_client", *command[1:]]


def test_the_command_page_s_first_worker_shouts(daemon: Daemon) -> None:
    with working(*shown("periodic work shout"), daemon=daemon):
        assert said(*shown("periodic call shout"), daemon=daemon) == ["GOOD MORNING"]


def test_the_command_page_s_guetzli_makes_a_file_smaller(daemon: Daemon, tmp_path: Path) -> None:
    picture = tmp_path / "cat.jpg"
    Image.radial_gradient("L").convert("RGB").resize((64, 64)).save(picture, quality=100)
    before = picture.stat().st_size
    submit = [str(picture) if word.endswith("cat.jpg") else word for word in shown("periodic submit guetzli-file")]
    submit[submit.index("submit")] = "call"
    with working(*shown("periodic work guetzli-file"), daemon=daemon):
        assert said(*submit, daemon=daemon) == []
    assert picture.stat().st_size < before
    assert said(*shown("periodic list --where func=guetzli-file"), daemon=daemon)[1:] == []


def test_the_command_page_s_lines_in_sh_are_a_command_that_lives_on(daemon: Daemon, tmp_path: Path) -> None:
    (source,) = re.findall(r"^```sh\n(.*?)^```$", COMMANDS, re.MULTILINE | re.DOTALL)
    script = tmp_path / "square.sh"
    script.write_text(source)
    script.chmod(0o755)
    worker = [str(script) if word == "./square.sh" else word for word in shown("periodic work square")]
    with working(*worker, daemon=daemon):
        squares = [said("-m", "periodic_client", "call", "square", name, daemon=daemon) for name in ("12", "7")]
        assert squares == [["144"], ["49"]]


def test_the_command_page_s_objects_in_json_are_answered(daemon: Daemon, tmp_path: Path) -> None:
    (source,) = programs(COMMANDS)
    script = tmp_path / "count.py"
    script.write_text(source)
    here = {"python3": sys.executable, "count.py": str(script)}
    with working(*(here.get(word, word) for word in shown("periodic work count")), daemon=daemon):
        assert said(*shown("periodic call count"), daemon=daemon) == ["counting4"]
        assert said("-m", "periodic_client", "call", "count", "none", daemon=daemon) == ["counting0"]
        with started(
            "-m", "periodic_client", "call", "count", "x", "-w", f"@{sys.executable}", daemon=daemon
        ) as caller:
            _, errors = caller.communicate()
    assert (caller.returncode, "this is no text" in errors) == (7, True)
