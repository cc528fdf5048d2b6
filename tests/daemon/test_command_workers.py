"""``periodic work``: real commands, the real daemon, and no process left behind, however the worker ends."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trio
from PIL import Image

from periodic_client import Broadcast, Client, JobDead, NewJob, Retry
from rig.daemon import Daemon
from tests.daemon.command import periodic
from tests.daemon.programs import ONCE, Told, call, children_of, command_worker, gone, is_there, reason_of, until

FIRST = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
"""Before a command that is to be the first process, as in a container."""
SHOW = "import json, os, sys; print(json.dumps([sys.argv[1:], sys.stdin.read(), dict(os.environ)]))"
TWO_DEEP = 'sh -c "trap : TERM; echo \\$\\$ >\\"$TOLD\\"; while :; do sleep 1; done"'
"""A process below the command's own that takes no notice of SIGTERM, and tells its number."""


# -- what a command is told, and how it ends ---------------------------------------------------------------------------


async def test_a_command_is_told_its_job(daemon: Daemon, client: Client) -> None:
    job = NewJob("f", "it's a\nname", "a workload", headers={"content-type": "text/plain"}, due_at_ms=0)
    with command_worker(daemon, "f", "--", sys.executable, "-c", SHOW, "an argument"):
        arguments, workload, environment = json.loads(await client.call(job, timeout_s=60))
    assert (arguments, workload) == (["an argument", "it's a\nname"], "a workload")
    given = {key: value for key, value in environment.items() if key.startswith("PERIODIC_")}
    assert json.loads(given.pop("PERIODIC_HEADERS")) == {"content-type": "text/plain"}
    assert int(given.pop("PERIODIC_DUE_AT_MS")) > 1_700_000_000_000
    assert given.pop("PERIODIC_HANDLE").count("-") == 3
    assert int(given.pop("PERIODIC_RUN")) > 0
    assert given == {
        "PERIODIC_FUNC": "f", "PERIODIC_NAME": "it's a\nname", "PERIODIC_ATTEMPT": "1", "PERIODIC_FAILURES": "0",
        "PERIODIC_URL": daemon.url,
    }  # fmt: skip


async def test_without_its_name_a_command_has_its_own_arguments_only(daemon: Daemon, client: Client) -> None:
    with command_worker(daemon, "f", "--no-name", "--", "tr", "a-z", "A-Z"):
        assert await call(client, "n", b"shout") == b"SHOUT"


async def test_any_bytes_go_in_and_come_out(daemon: Daemon, client: Client) -> None:
    everything = bytes(range(256)) * 5000
    with command_worker(daemon, "f", "--no-name", "--", "cat"):
        assert await call(client, "n", everything) == everything


async def test_a_command_need_not_read_its_workload(daemon: Daemon, client: Client) -> None:
    with command_worker(daemon, "f", "--", "true"):
        assert await call(client, "n", b"x" * 10_000_000) == b""


async def test_too_large_a_result_is_a_failure_and_is_not_held(tmp_path: Path) -> None:
    with Daemon(tmp_path, "--workload-bytes", "100000") as daemon:
        async with Client(daemon.url) as client:
            with command_worker(daemon, "f", "--", "sh", "-c", "head -c $0 /dev/zero; exec yes $0") as worker:
                assert "more than 100,000 bytes" in await reason_of(client, "300000000")
                assert worker.most_memory_mb < 100
            with command_worker(daemon, "f", "--", "sh", "-c", "head -c $0 /dev/zero"):
                assert await call(client, "100000") == bytes(100_000)


async def test_75_is_later_and_no_failure(daemon: Daemon, client: Client) -> None:
    script = "echo $PERIODIC_ATTEMPT $PERIODIC_FAILURES; [ $PERIODIC_ATTEMPT = 3 ] || exit 75"
    with command_worker(daemon, "f", "--later", "50ms", "--", "sh", "-c", script):
        assert await call(client, "n") == b"3 0\n"


async def test_a_failure_has_the_exit_code_and_the_end_of_standard_error(daemon: Daemon, client: Client) -> None:
    script = "seq 100000 >&2; echo no \xff such disk >&2; exit 3"
    with command_worker(daemon, "f", "--", "sh", "-c", script) as worker:
        reason = await reason_of(client, "n")
        assert reason.startswith("exit code 3: ")
        assert reason.endswith("99999\n100000\nno \xff such disk")
        assert 990 < len(reason.encode()) <= 1000
        assert "f n failed: exit code 3" in worker.said


async def test_a_failure_has_the_name_of_the_signal(daemon: Daemon, client: Client) -> None:
    with command_worker(daemon, "f", "--", "sh", "-c", "echo oh >&2; kill -SEGV $$"):
        assert await reason_of(client, "n") == "killed by SIGSEGV: oh"


async def test_ten_megabytes_of_messages_fill_no_memory(daemon: Daemon, client: Client) -> None:
    with command_worker(daemon, "f", "--", "sh", "-c", "head -c 10000000 /dev/zero | tr '\\0' x >&2") as worker:
        await call(client, "before")
        before = worker.most_memory_mb
        for name in "abc":
            await call(client, name)
        assert worker.most_memory_mb < before + 5


def test_a_command_that_is_not_there_is_told_at_the_start(daemon: Daemon) -> None:
    ended = periodic(daemon, "work", "f", "--", "no-such-command", "x")
    assert ended.returncode == 2
    assert "no-such-command: there is no such command" in ended.stderr
    ended = periodic(daemon, "work", "f", "--framing", "json", "--", "cat")
    assert (ended.returncode, "give --pipe too" in ended.stderr) == (2, True)
    ended = periodic(daemon, "work", "f", "--memory", "much", "--", "cat")
    assert (ended.returncode, "'much' is not a size such as 512M" in ended.stderr) == (2, True)


async def test_a_command_that_cannot_be_started_any_more_fails_the_job(
    daemon: Daemon, client: Client, tmp_path: Path
) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\necho here")
    script.chmod(0o755)
    with command_worker(daemon, "f", "--", script):
        assert await call(client, "a") == b"here\n"
        script.unlink()
        assert await reason_of(client, "b") == "the command cannot be started: No such file or directory"
        script.write_text("#!/bin/sh\necho again")
        script.chmod(0o755)
        assert await call(client, "c") == b"again\n"
        assert await reason_of(client, "no\0argument") == "the command cannot be started: embedded null byte"


def test_what_the_daemon_refuses_is_told(daemon: Daemon) -> None:
    ended = periodic(daemon, "work", "f" * 256, "--", "cat")
    assert ended.returncode == 1
    assert "periodic: INVALID" in ended.stderr


# -- limits ------------------------------------------------------------------------------------------------------------


async def test_a_run_that_takes_too_long_is_ended_with_all_that_it_started(
    daemon: Daemon, client: Client, told: Told
) -> None:
    script = f"echo busy >&2; {TWO_DEEP} & {TWO_DEEP}"
    with command_worker(daemon, "f", "--timeout", "300ms", "--grace", "200ms", "--", "sh", "-c", script):
        assert (await reason_of(client, "n")).startswith("it was ended after 0.3 s (--timeout): busy")
        for _ in range(2):
            assert not is_there(int(await told.line()))


async def test_a_failure_past_the_worker_s_limit_is_final(daemon: Daemon, client: Client) -> None:
    with command_worker(daemon, "f", "--retry-limit", "2", "--", "false"):
        with pytest.raises(JobDead) as caught, trio.fail_after(30):
            await client.call(NewJob("f", "n", retry=Retry(limit=10, backoff="fixed", delay_ms=10)))
        assert caught.value.attempt == 3


async def test_the_kernel_holds_the_memory_of_each_process(daemon: Daemon, client: Client) -> None:
    script = "print(len(bytes(int(__import__('sys').argv[1]))))"
    with command_worker(daemon, "f", "--memory", "300M", "--", sys.executable, "-c", script):
        assert await call(client, "1000") == b"1000\n"
        assert "MemoryError" in await reason_of(client, "400000000")
    with command_worker(daemon, "f", "--memory", "300M", "--", "sh", "-c", "ulimit -H -v"):
        assert await call(client, "hard") == b"307200\n"


async def test_the_lease_is_extended_while_it_runs(daemon: Daemon, client: Client) -> None:
    with command_worker(daemon, "f", "--", "sh", "-c", "sleep 2.5; echo $PERIODIC_ATTEMPT"):
        assert await client.call(NewJob("f", "n", lease_ms=1000, retry=ONCE), timeout_s=60) == b"1\n"


async def test_many_run_at_once_beyond_the_descriptors_that_a_program_has_by_itself(
    daemon: Daemon, client: Client, told: Told
) -> None:
    script = 'echo >"$TOLD"; ulimit -n; read -r go <"$TOLD.go"'
    go_on = daemon.store.parent / "told.go"
    os.mkfifo(go_on)
    before = ("prlimit", "--nofile=200:4096")
    with command_worker(daemon, "f", "--limit", "100", "--", "sh", "-c", script, before=before):
        results: list[bytes] = []

        async def one(name: str) -> None:
            results.append(await call(client, name))

        async with trio.open_nursery() as nursery:
            for count in range(100):
                nursery.start_soon(one, str(count))
            for _ in range(100):
                await told.line()
            descriptor = os.open(go_on, os.O_RDWR)
            os.write(descriptor, b"\n" * 100)
        os.close(descriptor)
        assert results == [b"200\n"] * 100


async def test_without_descriptors_jobs_fail_and_the_worker_goes_on(daemon: Daemon, client: Client, told: Told) -> None:
    before = ("prlimit", "--nofile=40:40")
    script = '[ $0 = last ] || { echo $$ >"$TOLD"; exec sleep 1000; }'
    with command_worker(daemon, "f", "--limit", "20", "--", "sh", "-c", script, before=before) as worker:
        for count in range(20):
            await client.submit(NewJob("f", str(count), retry=ONCE))
        await until(lambda: "failed: the command cannot be started: Too many open files" in worker.said)
        assert is_there(int(await told.line()))
        await client.cancel_matching(func="f", cancel_reason="enough")
        with trio.fail_after(30):
            while [job async for job in client.list("f", state="running")]:  # noqa: ASYNC110
                await trio.sleep(0.02)
        assert await call(client, "last") == b""


async def test_who_does_not_hold_the_lock_comes_again_when_he_does(daemon: Daemon, client: Client) -> None:
    folder = daemon.store.parent / "held"
    script = f"mkdir {folder} && sleep 0.1 && rmdir {folder} && echo $PERIODIC_ATTEMPT"
    results: list[bytes] = []

    async def one(name: str, locks: dict[str, int]) -> None:
        results.append(await client.call(NewJob("f", name, locks=locks, retry=ONCE), timeout_s=60))

    with command_worker(daemon, "f", "--limit", "4", "--lock", "disk", "--", "sh", "-c", script):
        async with trio.open_nursery() as nursery:
            for name in "abcdef":
                nursery.start_soon(one, name, {"disk": 1, "other": 1} if name == "f" else {})
    assert sorted(results) == [b"1\n", *[b"2\n"] * 5]
    with command_worker(daemon, "f", "--lock", "disk=2", "--lock", "tape", "--", "true"):
        await client.submit(NewJob("f", "wants", locks={"disk": 1, "other": 1}))
        with trio.fail_after(30):
            while (job := await client.get("f", "wants")) is None or job["state"] != "parked":  # noqa: ASYNC110
                await trio.sleep(0.02)
        assert (job["locks"], job["failures"]) == ({"disk": 2, "other": 1, "tape": 1}, 0)
        assert Broadcast.from_result(await client.call(NewJob("f", "all", broadcast=True))).failed == 1


# -- the end of a run --------------------------------------------------------------------------------------------------

CLEANS = 'trap "echo cleaned >\\"$TOLD\\"; exit 0" TERM; echo begun >"$TOLD"; while :; do sleep 0.1; done'


async def test_a_cancelled_run_is_asked_to_end(daemon: Daemon, client: Client, told: Told) -> None:
    with command_worker(daemon, "f", "--", "sh", "-c", CLEANS):
        await client.submit(NewJob("f", "n", result_ms=60_000))
        assert await told.line() == "begun"
        assert await client.cancel("f", "n") == "asked"
        assert await told.line() == "cleaned"
        with trio.fail_after(30):
            endings = [news.ending async for news in client.watch("f", "n")]
        assert endings[-1] == "cancelled"


async def test_a_cancelled_run_is_killed_if_that_was_said(daemon: Daemon, client: Client, told: Told) -> None:
    with command_worker(
        daemon, "f", "--on-cancel", "kill", "--grace", "1h", "--", "sh", "-c", f"{TWO_DEEP}; {TWO_DEEP}"
    ):
        await client.submit(NewJob("f", "n"))
        pid = int(await told.line())
        await client.cancel("f", "n")
        await gone(pid)
        await client.submit(NewJob("f", "m"))
        await gone_after(client, "m", int(await told.line()))
        assert not told.has_more()


async def gone_after(client: Client, name: str, pid: int) -> None:
    """A run that no longer counts is ended as one that is cancelled."""
    assert await client.remove("f", name) == "removed"
    await gone(pid)


async def test_what_a_command_leaves_behind_is_ended_with_it(daemon: Daemon, client: Client, told: Told) -> None:
    with command_worker(
        daemon, "f", "--grace", "100ms", "--", "sh", "-c", f"{TWO_DEEP} & read begun <$TOLD; echo $begun"
    ):
        pid = int(await call(client, "n"))
        assert not is_there(pid)


async def test_who_has_left_the_group_holds_nothing_up_and_ends_with_the_worker(
    daemon: Daemon, client: Client, told: Told
) -> None:
    script = f"setsid {TWO_DEEP} & read begun <$TOLD; echo $begun"
    with command_worker(daemon, "f", "--", "sh", "-c", script):
        pid = int(await call(client, "n"))
        assert is_there(pid)
    await gone(pid)


# -- the end of the worker ---------------------------------------------------------------------------------------------


async def test_a_killed_worker_leaves_nothing_behind(daemon: Daemon, client: Client, told: Told) -> None:
    script = f"{TWO_DEEP} & setsid {TWO_DEEP} & {TWO_DEEP}"
    with command_worker(daemon, "f", "--", "sh", "-c", script, expects=-signal.SIGKILL) as worker:
        await client.submit(NewJob("f", "n"))
        pids = [int(await told.line()) for _ in range(3)]
        keeper = worker.keeper
        (command,) = children_of(keeper)
        worker.process.kill()
        for pid in (*pids, command, keeper):
            await gone(pid)


async def test_a_worker_that_is_killed_while_it_hears_nothing_leaves_nothing_behind(
    daemon: Daemon, client: Client, told: Told
) -> None:
    script = f"[ $0 = short ] && {{ echo $$ >$TOLD; sleep 1; exit; }}; {TWO_DEEP}; true"
    with command_worker(daemon, "f", "--limit", "2", "--", "sh", "-c", script, expects=-signal.SIGKILL) as worker:
        await client.submit(NewJob("f", "long"))
        long = int(await told.line())
        await client.submit(NewJob("f", "short"))
        short = int(await told.line())
        keeper = worker.keeper
        worker.process.send_signal(signal.SIGSTOP)
        await gone(short)
        await until(lambda: len(children_of(keeper)) == 1)  # it has said so, and nobody has read it
        worker.process.kill()
        await gone(long)
        await gone(keeper)


async def test_a_killed_keeper_ends_the_worker_and_the_commands(daemon: Daemon, client: Client, told: Told) -> None:
    with command_worker(daemon, "f", "--", "sh", "-c", TWO_DEEP, expects=1) as worker:
        await client.submit(NewJob("f", "n"))
        pid = int(await told.line())
        os.kill(worker.keeper, signal.SIGKILL)
        assert await worker.ended() == 1
        await gone(pid)
        assert worker.said.endswith("periodic: the process that starts its commands was killed\n")


async def test_a_stop_waits_for_what_runs_and_begins_nothing(daemon: Daemon, client: Client, told: Told) -> None:
    go_on = daemon.store.parent / "go-on"
    os.mkfifo(go_on)
    script = f'echo $0 >"$TOLD"; cat {go_on}'
    with command_worker(daemon, "f", "--", "sh", "-c", script) as worker:
        for name in ("first", "second"):
            await client.submit(NewJob("f", name, result_ms=60_000))
        assert await told.line() == "first"
        worker.process.terminate()
        await until(lambda: "stopping on SIGTERM: running jobs have all the time that they need" in worker.said)
        go_on.write_text("done at last")
        assert await worker.ended() == 0
    seen = await client.look("f", "first", data=True)
    assert seen.last is not None
    assert seen.last["data"] == b"done at last"
    waiting = await client.get("f", "second")
    assert waiting is not None
    assert (waiting["state"], waiting["crashes"]) == ("waiting", 0)


async def test_a_command_goes_on_while_the_daemon_is_away(daemon: Daemon, client: Client, told: Told) -> None:
    go_on = daemon.store.parent / "go-on"
    os.mkfifo(go_on)
    with command_worker(daemon, "f", "--", "sh", "-c", f'echo $0 >"$TOLD"; cat {go_on}'):
        await client.submit(NewJob("f", "n", result_ms=60_000))
        assert await told.line() == "n"
        await client.get("f", "n")  # that it runs is on disk now
        daemon.kill()
        daemon.start()
        go_on.write_text("done all the same")
        with trio.fail_after(30):
            async with Client(daemon.url) as another:
                assert await another.call(NewJob("f", "n", existing="keep", result_ms=60_000)) == b"done all the same"
        assert not told.has_more()


async def test_a_second_signal_ends_what_runs(daemon: Daemon, client: Client, told: Told) -> None:
    with command_worker(daemon, "f", "--grace", "200ms", "--", "sh", "-c", f"{TWO_DEEP}; true") as worker:
        await client.submit(NewJob("f", "n"))
        pid = int(await told.line())
        worker.process.send_signal(signal.SIGINT)
        await until(lambda: "stopping on SIGINT" in worker.said)
        assert is_there(pid)
        worker.process.send_signal(signal.SIGINT)
        assert await worker.ended() == 0
        assert not is_there(pid)
    job = await client.get("f", "n")
    assert job is not None
    assert (job["state"], job["failures"], job["crashes"]) == ("waiting", 0, 0)


async def test_no_zombies_are_left(daemon: Daemon, client: Client, told: Told) -> None:
    script = '(setsid sh -c "sh -c \\": >\\$TOLD\\" & true" & true) & true'
    with command_worker(daemon, "f", "--limit", "4", "--", "sh", "-c", script) as worker:
        for count in range(5):
            await call(client, str(count))
        await until(lambda: not children_of(worker.keeper))  # orphans of orphans come to it when they please


@pytest.mark.skipif(subprocess.run([*FIRST, "true"]).returncode != 0, reason="it takes rights that are not here")
async def test_as_the_first_process_of_a_container_it_reaps_orphans(daemon: Daemon, client: Client) -> None:
    with command_worker(daemon, "f", "--", "true", before=FIRST, expects=None) as worker:
        await call(client, "n")
        (first,) = children_of(worker.process.pid)
        enter = ["nsenter", "--target", str(first), "--pid", "--mount"]
        await trio.run_process([*enter, "sh", "-c", "(sh -c 'true & true' & true)"], check=True)
        await until(lambda: len(children_of(first)) == 1)
        await call(client, "m")
        os.kill(first, signal.SIGTERM)
        assert await worker.ended() == 0


# -- what it tells meanwhile -------------------------------------------------------------------------------------------


async def test_lines_of_standard_error_are_told_as_they_come(daemon: Daemon, client: Client) -> None:
    go_on = daemon.store.parent / "go-on"
    os.mkfifo(go_on)
    script = f"echo one >&2; echo two >&2; read x <{go_on}; printf three >&2; echo result"
    with command_worker(daemon, "f", "--stream", "--", "sh", "-c", script):
        told = b""
        with trio.fail_after(30):
            async for news in client.submit_and_watch(NewJob("f", "n")):
                told += b"".join(news.chunks)
                if told == b"one\ntwo\n":
                    go_on.write_text("\n")
                if news.ended:
                    assert news.data == b"result\n"
        assert told == b"one\ntwo\nthree"


async def test_a_broadcast_starts_a_command_on_each_worker(daemon: Daemon, client: Client, told: Told) -> None:
    script = 'echo $0 >"$TOLD"; [ $0 = everyone ] || exec sleep 1000'
    with (
        command_worker(daemon, "f", "--drain", "0s", "--", "sh", "-c", script),
        command_worker(daemon, "f", "--drain", "0s", "--", "sh", "-c", script),
    ):
        for name in "ab":
            await client.submit(NewJob("f", name))
        assert {await told.line(), await told.line()} == {"a", "b"}
        with trio.fail_after(30):
            result = await client.call(NewJob("f", "everyone", broadcast=True))
        assert Broadcast.from_result(result) == Broadcast(2, done=2, failed=0, lost=0)


async def test_guetzli_is_a_worker_of_one_line(daemon: Daemon, client: Client, tmp_path: Path) -> None:
    picture = tmp_path / "small.jpg"
    Image.radial_gradient("L").convert("RGB").resize((96, 96)).save(picture, quality=100)
    before = picture.read_bytes()
    script = 'guetzli "$1" "$1.new" && mv "$1.new" "$1"'
    with command_worker(daemon, "f", "--memory", "2G", "--", "sh", "-c", script, "sh"):
        await call(client, str(picture))
    assert len(picture.read_bytes()) < len(before)
    with Image.open(picture) as made:
        assert made.size == (96, 96)
