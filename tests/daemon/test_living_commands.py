"""``periodic work --pipe``: commands that live on, given a line for each job; real ones, against the real daemon."""

import json
import os
import signal
import sys
from pathlib import Path

import pytest
import trio

from periodic_client import Broadcast, Client, JobDead, NewJob
from rig.daemon import Daemon
from tests.daemon.programs import ONCE, Told, call, children_of, command_worker, gone, is_there, reason_of, until

ECHO = """
echo ready
while read -r id payload
do case "$payload" in
    chunks) printf '%s WORKDATA one\\n%s WORKDATA two \\n%s WORKDONE  a b \\n' $id $id $id ;;
    fail) echo $id WORKFAIL ;;
    why) echo $id WORKFAIL no such picture ;;
    pid) echo $id $$ ;;
    die) echo dying >&2; exit 7 ;;
    hang) echo $$ >"$TOLD"; echo hanging >&2; sleep 1000 ;;
    other) echo 99 WORKDONE x ;;
    words) echo what is this ;;
    twice) printf '%s once\\n%s twice\\n' $id $id ;;
    late) echo $id now; sleep 0.2; echo $id late; echo >"$TOLD" ;;
    talk) echo line one >&2; echo line two >&2; echo $id talked ;;
    close) exec >&-; read -r more ;;
    *) echo "$id $payload" ;;
   esac
done
"""
SHELL = ("--", "sh", "-c", ECHO)
JSON = """
import json, sys, os
print("ready", flush=True)
for line in sys.stdin:
    job = json.loads(line)
    for answer in eval(job["name"]) if job["name"].startswith("[") else [{"outcome": "done", "data": line}]:
        if isinstance(answer, dict):
            answer = json.dumps({"id": job["id"]} | answer)
        print(answer, flush=True)
"""


async def chunks_of(client: Client, name: str) -> bytes:
    told = b""
    with trio.fail_after(30):
        async for news in client.submit_and_watch(NewJob("f", name, retry=ONCE)):
            told += b"".join(news.chunks)
    return told


async def test_one_command_answers_one_job_after_the_other(daemon: Daemon, client: Client) -> None:
    with command_worker(daemon, "f", "--pipe", *SHELL):
        assert await call(client, "a name") == b"a name"
        (pid,) = {await call(client, "pid") for _ in range(3)}
        assert await chunks_of(client, "chunks") == b"onetwo "
        assert await call(client, "chunks") == b" a b "
        assert await reason_of(client, "fail") == "WORKFAIL"
        assert await reason_of(client, "why") == "no such picture"
        assert await call(client, "pid") == pid
        assert "more than one line" in await reason_of(client, "two\nlines")
        assert await call(client, "pid") == pid


async def test_a_line_has_the_workload_if_not_the_name(daemon: Daemon, client: Client) -> None:
    with command_worker(daemon, "f", "--pipe", "--no-name", *SHELL):
        assert await call(client, "n", "some work") == b"some work"
        assert await reason_of(client, "n", b"two\nlines") == (
            "its workload has more than one line, and its command is given one line a job (--pipe)"
        )


async def test_there_are_as_many_as_the_limit_and_each_has_one_job(daemon: Daemon, client: Client, told: Told) -> None:
    with command_worker(daemon, "f", "--pipe", "--limit", "3", "--drain", "0s", *SHELL) as worker:
        await call(client, "pid")
        await until(lambda: len(children_of(worker.keeper)) == 3)
        for name in ("hang", "hang "):
            await client.submit(NewJob("f", name))
        hanging = {int(await told.line()), int(await told.line())}
        assert len(hanging) == 2
        free = {int(await call(client, "pid")) for _ in range(4)}
        assert len(free) == 1
        assert not free & hanging
        with trio.fail_after(30):
            result = await client.call(NewJob("f", "everyone", broadcast=True))
        assert Broadcast.from_result(result).done == 1


async def test_one_that_dies_fails_its_job_and_is_replaced(daemon: Daemon, client: Client) -> None:
    with command_worker(daemon, "f", "--pipe", *SHELL) as worker:
        pid = await call(client, "pid")
        assert await reason_of(client, "die") == "it ended: exit code 7: dying"
        assert not is_there(int(pid))
        assert await call(client, "pid") != pid
        assert "it ended: exit code 7: dying; another one is started in 1 s" in worker.said


async def test_one_that_is_killed_while_it_is_idle_costs_no_job(daemon: Daemon, client: Client) -> None:
    with command_worker(daemon, "f", "--pipe", *SHELL) as worker:
        pid = int(await call(client, "pid"))
        (child,) = children_of(worker.keeper)
        assert child == pid
        os.kill(pid, signal.SIGKILL)
        await gone(pid)
        assert await call(client, "after") == b"after"


async def test_one_that_never_is_ready_is_replaced_less_and_less_often(daemon: Daemon, client: Client) -> None:
    with command_worker(daemon, "f", "--pipe", "--", "sh", "-c", "echo no config >&2; exit 4") as worker:
        await until(lambda: "another one is started in 2 s" in worker.said)
        assert "it ended: exit code 4: no config; another one is started in 1 s" in worker.said
        with trio.fail_after(30):
            await client.submit(NewJob("f", "n", lease_ms=1000))
            await until(lambda: "f n comes later: no command was free for it in half its lease" in worker.said)
        job = await client.get("f", "n")
        assert job is not None
        assert job["failures"] == 0


async def test_one_that_does_not_say_that_it_is_ready_is_ended(daemon: Daemon, client: Client, told: Told) -> None:
    ready = '[ -e "$TOLD.second" ] && { echo ready; read -r id name; echo $id $name; cat; }'
    script = f'{ready}; : >"$TOLD.second"; echo $$ >"$TOLD"; sleep 1000'
    with command_worker(daemon, "f", "--pipe", "--ready-timeout", "300ms", "--", "sh", "-c", script) as worker:
        pid = int(await told.line())
        assert await call(client, "at last") == b"at last"
        assert not is_there(pid)
        assert "it printed no line in 0.3 s, by which it says that it is ready" in worker.said


async def test_one_that_takes_too_long_is_replaced_at_once(daemon: Daemon, client: Client, told: Told) -> None:
    with command_worker(daemon, "f", "--pipe", "--timeout", "300ms", *SHELL) as worker:
        assert (await reason_of(client, "hang")).startswith("it was ended after 0.3 s (--timeout): hanging")
        assert not is_there(int(await told.line()))
        assert await call(client, "next") == b"next"
        assert "another one is started" not in worker.said


async def test_a_cancelled_job_ends_its_command(daemon: Daemon, client: Client, told: Told) -> None:
    with command_worker(daemon, "f", "--pipe", "--on-cancel", "kill", *SHELL):
        await client.submit(NewJob("f", "hang"))
        pid = int(await told.line())
        await client.cancel("f", "hang")
        await gone(pid)
        assert await call(client, "next") == b"next"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("other", "it answered '99 WORKDONE x' to the line 1"),
        ("words", "it answered 'what is this' to the line 1"),
        ("close", "it closed its standard output, or input"),
    ],
)
async def test_one_that_answers_what_was_not_asked_is_replaced(
    daemon: Daemon, client: Client, name: str, reason: str
) -> None:
    with command_worker(daemon, "f", "--pipe", *SHELL):
        assert (await reason_of(client, name)).startswith(reason)
        assert await call(client, "next") == b"next"


async def test_one_that_answers_twice_is_given_nothing_more(daemon: Daemon, client: Client, told: Told) -> None:
    with command_worker(daemon, "f", "--pipe", *SHELL):
        assert await call(client, "twice") == b"once"
        assert await call(client, "next") == b"next"
        assert await call(client, "late") == b"now"
        await told.line()
        assert await call(client, "next again") == b"next again"


async def test_lines_of_standard_error_belong_to_the_job_in_whose_time_they_come(
    daemon: Daemon, client: Client
) -> None:
    with command_worker(daemon, "f", "--pipe", "--stream", *SHELL):
        assert await chunks_of(client, "talk") == b"line one\nline two\n"
        assert await chunks_of(client, "silent") == b""
        assert await reason_of(client, "die") == "it ended: exit code 7: dying"


async def test_too_long_an_answer_is_a_failure(tmp_path: Path) -> None:
    script = "echo ready; while read -r id n; do echo $id $(head -c $n /dev/zero | tr '\\0' x); done"
    with Daemon(tmp_path, "--workload-bytes", "100000") as daemon:
        async with Client(daemon.url) as client:
            with command_worker(daemon, "f", "--pipe", "--", "sh", "-c", script):
                assert len(await call(client, "100000")) == 100_000
                assert "it answered 100,001 bytes, and a result has no more than 100,000" in await reason_of(
                    client, "100001"
                )
                assert "it printed a line of more than 265,536 bytes" in await reason_of(client, "1000000")
                assert await call(client, "3") == b"xxx"


async def test_objects_say_all_that_a_job_has(daemon: Daemon, client: Client) -> None:
    with command_worker(daemon, "f", "--pipe", "--framing", "json", "--", sys.executable, "-c", JSON):
        with trio.fail_after(30):
            given = json.loads(await client.call(NewJob("f", "a\nb", "x\ny", headers={"k": "v"}, due_at_ms=0)))
        assert given.pop("run") > 0
        assert given.pop("handle").count("-") == 3
        assert given.pop("due_at_ms") > 1_700_000_000_000
        assert given == {
            "id": 1, "func": "f", "name": "a\nb", "workload": "x\ny", "headers": {"k": "v"}, "attempt": 1,
            "failures": 0,
        }  # fmt: skip
        assert json.loads(await call(client, "b", b"\xff"))["workload_base64"] == "/w=="


async def test_objects_answer_in_all_ways(daemon: Daemon, client: Client) -> None:
    with command_worker(daemon, "f", "--pipe", "--framing", "json", "--", sys.executable, "-c", JSON):
        assert await call(client, "[{'outcome': 'done', 'data_base64': '/w=='}]") == b"\xff"
        assert await call(client, "[{'outcome': 'done'}]") == b""
        assert await chunks_of(client, "[{'data': 'a'}, {'data_base64': '/w=='}, {'outcome': 'done'}]") == b"a\xff"
        assert await reason_of(client, "[{'outcome': 'failed', 'reason': 'too wide'}]") == "too wide"
        with pytest.raises(JobDead) as caught, trio.fail_after(30):
            await client.call(NewJob("f", "[{'outcome': 'failed', 'reason': 'never', 'final': True}]"))
        assert caught.value.attempt == 1
        again = "[{'outcome': 'later', 'delay_ms': 10} if job['attempt'] == 1 else {'outcome': 'done', 'data': 'ok'}]"
        assert await call(client, again) == b"ok"


@pytest.mark.parametrize(
    "answer",
    [
        "['no object']", "['[1]']", "['{}']", "['{\"id\": 2, \"outcome\": \"done\"}']", "[{'outcome': 'perhaps'}]",
        "[{'outcome': 'done', 'data': 1}]", "[{'outcome': 'done', 'data_base64': '!'}]", "[{'outcome': 'failed'}]",
        "[{'outcome': 'later', 'delay_ms': 'soon'}]", "[{}]", "['[' * 100000]",
    ],
)  # fmt: skip
async def test_an_object_that_is_no_answer_is_told_and_its_command_replaced(
    daemon: Daemon, client: Client, answer: str
) -> None:
    with command_worker(daemon, "f", "--pipe", "--framing", "json", "--", sys.executable, "-c", JSON):
        assert (await reason_of(client, answer)).startswith("it answered ")
        assert await call(client, "[{'outcome': 'done', 'data': 'next'}]") == b"next"
