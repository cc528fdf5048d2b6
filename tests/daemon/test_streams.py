"""What the commands do when their standard streams cannot take what they print: real processes, real descriptors."""

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trio

from periodic_client import Client, GiveUp, Job, NewJob, Worker
from rig.daemon import Daemon

UNWRITTEN = 8
CAT = "\u732b"  # no ASCII, no Latin-1
COMMANDS = [
    ["periodic_client", "get", "f", CAT],
    ["periodic_client", "get", "f", CAT, "--workload"],
    ["periodic_client", "list", "--where", "func=f"],
    ["periodic_client", "status"],
    ["periodic_client", "workers"],
    ["periodic_client", "ping"],
    ["periodic_client", "--help"],
    ["periodic_client", "--version"],
    ["periodicd", "config", "show"],
    ["periodicd", "--help"],
    ["periodicd", "--version"],
    ["image_workers", "--help"],
]
AS_JSON = [command for command in COMMANDS if {"get", "list", "status", "ping", "config"} & set(command)]
NAMED = [command for command in COMMANDS if {"list", "config"} & set(command) or command[-1] == CAT]


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with Daemon(tmp_path_factory.mktemp("streams")) as daemon:
        trio.run(fill, daemon.url)
        yield daemon


async def fill(url: str) -> None:
    """A job with a name that not every encoding has, and dead ones."""
    dead = [NewJob("dead", f"{number}") for number in range(3)]
    worker = Worker(url)
    ended = 0

    @worker.function("dead", limit=3)
    async def dies(_: Job) -> None:
        nonlocal ended
        ended += 1
        if ended == len(dead):
            worker.stop()
        raise GiveUp

    async with Client(url) as client:
        await client.submit_batch([NewJob("f", CAT, CAT, delay_ms=3_600_000), *dead])
    await worker.run()


FULL = "exec >/dev/full"
CLOSED = "exec >&-"
READER_GONE = "exec > >(:); wait $!"
BOTH_FULL = "exec >/dev/full 2>&1"
ALL_CLOSED = "exec <&- >&- 2>&-"
WHY = {FULL: b"No space left on device", CLOSED: b"it is closed", READER_GONE: b"Broken pipe"}
Ended = subprocess.CompletedProcess[bytes]


def run(url: str, command: list[str], redirect: str = ":", **env: str) -> Ended:
    """The command, started by a shell whose streams are as ``redirect`` says."""
    return subprocess.run(
        ["bash", "-c", f'{redirect}; exec "$0" -m "$@"', sys.executable, *command],
        env=os.environ | {"PERIODIC_URL": url, "PERIODICD_STORE": f"{CAT}.db"} | env,
        capture_output=True,
        check=False,
        timeout=60,
    )


def periodic(url: str, *arguments: str, redirect: str = ":", **env: str) -> Ended:
    return run(url, ["periodic_client", *arguments], redirect, **env)


def state(url: str, func: str, name: str) -> str | None:
    async def main() -> str | None:
        async with Client(url) as client:
            job = await client.get(func, name)
            return None if job is None else str(job["state"])

    return trio.run(main)


def one_line(ended: Ended) -> bytes:
    assert ended.returncode == UNWRITTEN, ended
    assert ended.stdout == b""
    (line,) = ended.stderr.splitlines()
    return line


# -- nothing can be written --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "redirect"),
    [*itertools.product(COMMANDS, WHY), *(([*command, "--json"], FULL) for command in AS_JSON)],
    ids=lambda part: part if isinstance(part, str) else " ".join(part),
)
def test_an_answer_that_cannot_be_written_is_said_in_one_line(
    daemon: Daemon, command: list[str], redirect: str
) -> None:
    program = command[0].replace("_", "-").removesuffix("-client")
    said = one_line(run(daemon.url, command, redirect))
    assert said == f"{program}: standard output cannot be written: ".encode() + WHY[redirect]


ACTS: list[tuple[list[str], bytes, tuple[str, str], str | None]] = [
    (["submit", "f", "new"], b"f new: created", ("f", "new"), "waiting"),
    (["submit", "f", "new", "--json"], b"f new: replaced", ("f", "new"), "waiting"),
    (["submit", "f", "new", "--existing", "refuse"], b"f new: refused", ("f", "new"), "waiting"),
    (["requeue", "dead", "0", "f"], b"0: requeued, f: absent", ("dead", "0"), "waiting"),
    (["requeue", "dead", "1", "--json"], b"1: requeued", ("dead", "1"), "waiting"),
    (["remove", "dead", "1", "2"], b"1: removed, 2: removed", ("dead", "2"), None),
    (["remove", "dead", "0", "--json"], b"0: removed", ("dead", "0"), None),
]


def test_what_was_done_is_done_and_said_though_it_cannot_be_written(daemon: Daemon) -> None:
    redirects = (FULL, CLOSED, READER_GONE, FULL, CLOSED, READER_GONE, FULL)
    for (command, answer, job, after), redirect in zip(ACTS, redirects, strict=True):
        said = one_line(periodic(daemon.url, *command, redirect=redirect))
        assert said == b"periodic: standard output cannot be written: " + WHY[redirect] + b"; the answer was: " + answer
        assert state(daemon.url, *job) == after


def test_a_shutdown_whose_answer_cannot_be_written_is_a_shutdown(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon:
        said = one_line(periodic(daemon.url, "shutdown", "--json", redirect=FULL))
        assert said.endswith(b"the answer was: the daemon is stopping")
        assert daemon.wait() == 0


def test_a_message_that_cannot_be_written_changes_no_exit_code(daemon: Daemon) -> None:
    for redirect in (BOTH_FULL, ALL_CLOSED):
        for arguments, code in (
            (["list"], UNWRITTEN),
            (["get", "f", "nothing"], 3),
            (["dance"], 2),
            (["--url", "unix:///nobody", "ping"], 5),
            (["submit", "f", "unseen"], UNWRITTEN),
        ):
            assert periodic(daemon.url, *arguments, redirect=redirect).returncode == code, (redirect, arguments)
        assert state(daemon.url, "f", "unseen") == "waiting"
        assert periodic(daemon.url, "remove", "f", "unseen").returncode == 0
    shown = periodic(daemon.url, "list", "--limit", "1", redirect="exec 2>/dev/full")
    assert (shown.returncode, shown.stdout.count(b"\n")) == (0, 2)


def test_a_reader_that_has_enough_of_a_long_answer(daemon: Daemon) -> None:
    trio.run(many, daemon.url)
    line = f"{sys.executable} -m periodic_client list --limit 3000 | head -1; exit ${{PIPESTATUS[0]}}"
    env = os.environ | {"PERIODIC_URL": daemon.url}
    ended = subprocess.run(["bash", "-c", line], env=env, capture_output=True, check=False, timeout=60)
    assert ended.returncode == UNWRITTEN
    assert ended.stdout.startswith(b"func\tname\tstate\t")
    assert ended.stderr == b"periodic: standard output cannot be written: Broken pipe\n"


async def many(url: str) -> None:
    """More than a pipe holds."""
    async with Client(url) as client:
        for _ in range(2):
            await client.submit_batch(NewJob("many", f"{i}" + "x" * 200, delay_ms=3_600_000) for i in range(1000))


def test_a_pipe_that_another_program_made_non_blocking_is_waited_for(daemon: Daemon) -> None:
    trio.run(many, daemon.url)
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    command = [sys.executable, "-m", "periodic_client", "--url", daemon.url, "list", "--limit", "900"]
    with subprocess.Popen(command, stdout=writing) as process:
        os.close(writing)
        with Path(f"/dev/fd/{reading}").open("rb") as pipe:
            assert pipe.read().count(b"\n") == 901
        assert process.wait(60) == 0


# -- encodings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["ascii", "iso8859-1"])
@pytest.mark.parametrize("command", [*NAMED, ["periodic_client", "remove", "f", CAT]], ids=" ".join)
def test_a_text_that_the_encoding_lacks_is_said_and_nothing_is_shown_by_halves(
    daemon: Daemon, command: list[str], encoding: str
) -> None:
    said = one_line(run(daemon.url, command, PYTHONIOENCODING=encoding)).decode(encoding)
    assert f"its encoding is {encoding}, which has no '\\u732b'; --json prints ASCII" in said
    if "remove" in command:
        assert "the answer was: " in said
        assert state(daemon.url, "f", CAT) is None
        assert periodic(daemon.url, "submit", "f", CAT, "-w", CAT, "--in", "1h").returncode == 0


LATIN = {"PYTHONIOENCODING": "latin-1"}
SHOWN = [
    *((command, LATIN) for command in COMMANDS if command not in NAMED),
    *(([*command, "--json"], LATIN) for command in NAMED),
    *((command, {"LC_ALL": "C"}) for command in NAMED),
    *(([*command, "--json"], {"PYTHONIOENCODING": "ascii"}) for command in NAMED),
]


@pytest.mark.parametrize(("command", "env"), SHOWN, ids=lambda part: " ".join(part))
def test_every_other_answer_is_shown_in_every_encoding(daemon: Daemon, command: list[str], env: dict[str, str]) -> None:
    ended = run(daemon.url, command, **env)
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert ended.stdout


@pytest.mark.parametrize("env", [{"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "latin-1"}, {"LC_ALL": "C"}])
def test_a_message_has_every_encoding(daemon: Daemon, env: dict[str, str]) -> None:
    for arguments, code in (
        (["get", "f", f"no {CAT}"], 3),
        (["submit", CAT], 2),
        (["submit", "f", "n", "--in", CAT], 2),
    ):
        ended = periodic(daemon.url, *arguments, **env)
        assert ended.returncode == code
        assert b"Traceback" not in ended.stderr
        assert ended.stderr


# -- the other streams -------------------------------------------------------------------------------------------------


def test_standard_input_that_is_closed_is_no_empty_workload(daemon: Daemon) -> None:
    ended = periodic(daemon.url, "submit", "f", "n", "-w", "-", redirect="exec <&-")
    assert ended.returncode == 2
    assert b"standard input is closed" in ended.stderr
    assert state(daemon.url, "f", "n") is None


def test_an_interrupt_while_a_workload_is_read_is_no_refusal(daemon: Daemon, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    command = [sys.executable, "-m", "periodic_client", "--url", daemon.url, "submit", "f", "n", "-w", f"@{fifo}"]
    # What runs in the background of a shell ignores SIGINT, and so would its children.
    heed: Callable[[], object] = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731
    # The FIFO is open once the other side reads.
    with subprocess.Popen(command, stderr=subprocess.PIPE, preexec_fn=heed) as process, fifo.open("wb"):
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert (process.returncode, said.strip()) == (130, b"periodic: interrupted")


@pytest.mark.parametrize("redirect", [BOTH_FULL, ALL_CLOSED])
def test_a_daemon_works_without_streams_and_no_file_of_its_is_taken_for_one(tmp_path: Path, redirect: str) -> None:
    url = f"unix://{tmp_path}/sock"
    command = [sys.executable, "-m", "periodicd", "--listen", url, "--store", str(tmp_path / "db")]
    with subprocess.Popen(
        ["bash", "-c", f'{redirect}; exec "$@"', "bash", *command], stdin=subprocess.DEVNULL
    ) as process:
        try:
            while (code := periodic(url, "submit", "f", "n").returncode) == 5:
                assert process.poll() is None
            assert code == 0
            for number in (0, 1, 2):
                assert Path(f"/proc/{process.pid}/fd/{number}").readlink().parent == Path("/dev")
            assert periodic(url, "shutdown").returncode == 0
            assert process.wait(60) == 0
        finally:
            process.kill()
