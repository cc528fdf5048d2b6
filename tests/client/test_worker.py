"""The worker: how runs end and are reported, and that neither lost connections nor its own end lose a finished one."""

import logging
import threading
from itertools import pairwise
from random import Random
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from periodic_client import Done, Failed, GiveUp, Group, Invalid, Job, Later, LeaseLost, NewJob, TimedOut, Worker
from periodic_client.reconnect import Backoff
from periodic_client.reports import CONFIRM_BYTES, CONFIRM_REPORTS
from periodic_client.runs import Function
from periodic_client.wire import Request, Response, encode_notification, encode_request
from periodic_client.worker import share
from tests.client.peer import EXTENDED, HELLO, Daemon
from tests.client.workers import KINDS, add, new_worker, running, serve_to_the_end


class Gate:
    """A function that begins, says so, and ends when it is let go."""

    def __init__(self) -> None:
        self.begun: list[Job] = []
        self.outcomes: dict[str, Any] = {}
        self._open: dict[str, trio.Event] = {}

    async def __call__(self, job: Job) -> Any:
        self.begun.append(job)
        self._open[job.name] = trio.Event()
        await self._open[job.name].wait()
        return self.outcomes.get(job.name)

    async def run(self, job: Job) -> Any:
        return await self(job)

    def let_go(self, name: str, outcome: Any = None) -> None:
        self.outcomes[name] = outcome
        self._open[name].set()

    @property
    def names(self) -> list[str]:
        return [job.name for job in self.begun]


@pytest.fixture
async def gate() -> Gate:
    return Gate()


# -- how it begins -----------------------------------------------------------------------------------------------------


async def test_it_introduces_itself_subscribes_and_has_started(daemon: Daemon, nursery: trio.Nursery) -> None:
    worker = new_worker(daemon, name="me", credit=7, disconnect_grace_ms=100)
    worker.function("b", limit=4)(lambda job: None)
    worker.function("a", inline=True)(lambda job: None)
    started = trio.Event()

    async def start() -> None:
        await nursery.start(worker.run)
        started.set()

    nursery.start_soon(start)
    peer = await daemon.accept()
    await peer.serve("hello", HELLO, {"client": "me", "credit": 7, "disconnect_grace_ms": 100})
    await peer.serve("subscribe", {}, "b", {"limit": 4})
    request = await peer.expect("subscribe", "a", {"limit": 1})
    await wait_all_tasks_blocked()
    assert not started.is_set()
    await peer.answer(request, {})
    await started.wait()
    await peer.close()


async def test_it_has_a_name_of_its_own_and_leaves_credit_to_the_daemon(daemon: Daemon) -> None:
    worker = new_worker(daemon)
    worker.function("f")(lambda job: None)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(worker.run)
        peer = await daemon.accept()
        options = (await peer.expect("hello")).params[0]
        nursery.cancel_scope.cancel()
    assert options["client"]
    assert set(options) == {"client", "disconnect_grace_ms"}


async def test_functions_are_checked(daemon: Daemon) -> None:
    worker = new_worker(daemon)

    @worker.function("f")
    def twice(job: Job) -> None: ...

    assert twice.__name__ == "twice", "the decorator gives the function back"
    with pytest.raises(ValueError, match="f: this worker has"):
        worker.function("f")
    for limit in (0, 1001):
        with pytest.raises(ValueError, match=f"limit is {limit}"):
            worker.function("g", limit=limit)

    async def slow(job: Job) -> None: ...

    with pytest.raises(ValueError, match="inline"):
        worker.function("g", inline=True)(slow)
    with pytest.raises(ValueError, match="nonsense"):
        Worker("nonsense")


async def test_it_needs_functions_and_runs_once(daemon: Daemon) -> None:
    worker = new_worker(daemon)
    with pytest.raises(RuntimeError, match="no functions"):
        await worker.run()
    worker.function("f")(lambda job: None)
    worker.stop()
    await worker.run()
    with pytest.raises(RuntimeError, match="once"):
        await worker.run()
    with pytest.raises(RuntimeError, match="before"):
        worker.function("g")


async def test_a_refused_subscription_is_raised(daemon: Daemon, nursery: trio.Nursery) -> None:
    worker = new_worker(daemon)
    worker.function("f" * 300)(lambda job: None)

    async def serve() -> None:
        peer = await daemon.accept()
        await peer.serve("hello", HELLO)
        await peer.refuse(await peer.expect("subscribe"), "INVALID path=func: func has 300 bytes")

    nursery.start_soon(serve)
    with pytest.raises(Invalid, match="300 bytes"):
        await worker.run()


async def test_a_draining_daemon_and_a_senseless_hello_are_tried_again(
    daemon: Daemon, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    worker = new_worker(daemon)
    worker.function("f")(lambda job: None)
    nursery.start_soon(worker.run)
    peer = await daemon.accept()
    await peer.serve("hello", HELLO)
    await peer.refuse(await peer.expect("subscribe"), "DRAINING: the daemon is stopping")
    assert await peer.receive() is None
    peer = await daemon.accept()
    await peer.serve("hello", "good day")
    assert await peer.receive() is None
    await (await daemon.accept()).serve_worker(("f", 1))


# -- how runs end ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("returned", "wire"),
    [
        (None, None),
        (b"x", b"x"),
        ("x", {"outcome": "done", "data": "x"}),
        (Done(b"y", [NewJob("g", "m")]), {"outcome": "done", "data": b"y", "submit": [{"func": "g", "name": "m"}]}),
        (Failed("no"), {"outcome": "failed", "reason": "no"}),
        (Later(7), {"outcome": "later", "delay_ms": 7}),
        (
            3,
            {
                "outcome": "failed",
                "reason": "f returned int; a function returns None, bytes, str, Done, Failed or Later",
                "final": True,
            },
        ),
    ],
)
async def test_returned(daemon: Daemon, kind: str, returned: Any, wire: Any) -> None:
    worker = new_worker(daemon)
    add(worker, kind, lambda job: returned)
    async with running(worker, daemon, ("f", 1)) as peer:
        assert await peer.run_job() == wire


@pytest.mark.parametrize("kind", KINDS)
async def test_raised(daemon: Daemon, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    worker = new_worker(daemon)

    def fail(job: Job) -> None:
        if job.name == "hopeless":
            raise GiveUp("not a picture")
        raise ValueError("disk full")

    add(worker, kind, fail)
    async with running(worker, daemon, ("f", 1)) as peer:
        assert await peer.run_job(workload=b"secret") == {"outcome": "failed", "reason": "ValueError: disk full"}
        hopeless = await peer.run_job(name="hopeless")
        assert hopeless == {"outcome": "failed", "reason": "not a picture", "final": True}
    assert "f n failed: ValueError: disk full" in caplog.text
    assert "in fail" in caplog.text, "the traceback"
    assert "f hopeless is given up: not a picture" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize("kind", KINDS)
async def test_the_job(daemon: Daemon, kind: str) -> None:
    fields = {
        "handle": "9-9-9", "run": 7, "func": "f", "name": "ä", "workload": b"\xff", "headers": {"codec": "x"},
        "due_at_ms": 1, "priority": -2, "lease_ms": 3, "attempt": 4, "failures": 5, "crashes": 6,
    }  # fmt: skip
    seen: list[Job] = []
    worker = new_worker(daemon)
    add(worker, kind, seen.append)
    async with running(worker, daemon, ("f", 1)) as peer:
        await peer.run_job(**fields, a_later_version="knows more")
    job = seen[0]
    assert {key: getattr(job, key) for key in fields} == fields
    assert not job.lost
    assert repr(job) == "<Job f ä run 7>", "the handle is for no log"


async def test_a_job_without_headers(daemon: Daemon) -> None:
    seen: list[Job] = []
    worker = new_worker(daemon)
    add(worker, "inline", seen.append)
    async with running(worker, daemon, ("f", 1)) as peer:
        await peer.run_job(headers=None)
    assert seen[0].headers == {}


@pytest.mark.parametrize(
    ("headers", "group"),
    [
        ({}, None),
        (dict.fromkeys((f"group-{field}" for field in Group._fields[1:]), "0"), None),
        (dict.fromkeys((f"group-{field}" for field in Group._fields), "many"), None),
        ({f"group-{field}": str(at) for at, field in enumerate(Group._fields)}, Group(0, 1, 2, 3, 4, 5)),
    ],
)
async def test_the_job_of_a_group(daemon: Daemon, headers: dict[str, str], group: Group | None) -> None:
    """Anybody may submit such headers, so they may be anything."""
    seen: list[Job] = []
    worker = new_worker(daemon)
    add(worker, "inline", seen.append)
    async with running(worker, daemon, ("f", 1)) as peer:
        await peer.run_job(headers=headers)
    assert seen[0].group == group


async def test_an_unknown_function_is_left_to_others(daemon: Daemon, caplog: pytest.LogCaptureFixture) -> None:
    worker = new_worker(daemon)
    add(worker, "inline", lambda job: None)
    async with running(worker, daemon, ("f", 1)) as peer:
        assert await peer.run_job(func="other") == {"outcome": "later", "delay_ms": 5000}
    assert "other n: this worker has no such function" in caplog.text


@pytest.mark.parametrize(
    "params", [[], [None], [[]], [{"func": "f"}], [{**dict.fromkeys(Job.__annotations__, 1), "func": ["f"]}]]
)
async def test_a_perform_without_a_job_is_refused(daemon: Daemon, params: list[Any]) -> None:
    worker = new_worker(daemon)
    add(worker, "inline", lambda job: None)
    async with running(worker, daemon, ("f", 1)) as peer:
        await peer.send(encode_request(0, "perform", params))
        assert str((await peer.expect_response()).error).startswith("INVALID: perform has no usable job")
        assert await peer.run_job() is None


async def test_other_requests_are_refused(daemon: Daemon) -> None:
    worker = new_worker(daemon)
    add(worker, "inline", lambda job: None)
    async with running(worker, daemon, ("f", 1)) as peer:
        await peer.send(encode_request(0, "dance", []))
        assert str((await peer.expect_response()).error).startswith("UNKNOWN_METHOD: dance")


async def test_a_number_used_twice_ends_the_connection(daemon: Daemon, gate: Gate, autojump_clock: MockClock) -> None:
    worker = new_worker(daemon)
    worker.function("f", limit=2)(gate.run)
    async with running(worker, daemon, ("f", 2)) as peer:
        msgid = await peer.perform(name="a")
        peer._next_msgid = msgid
        await peer.perform(name="b")
        assert await peer.receive() is None
        await (await daemon.accept()).expect("hello")
    assert gate.names == ["a"]


HOPELESS = {
    "late": (Later(1500.0), "outcome.delay_ms is an integer, not float"),  # type: ignore[arg-type]
    "wrong job": (Done(submit=[NewJob("g", "")]), "outcome.submit[0].name is empty"),
    "large": (bytes(4001), "outcome has 4,001 bytes, and may have 4,000"),
    "large together": (Done(submit=[NewJob("g", "n", bytes(4000))] * 2), "the outcome was refused: TOO_LARGE: "),
}


@pytest.mark.parametrize("kind", KINDS)
async def test_a_hopeless_outcome_is_final_and_says_why(daemon: Daemon, kind: str) -> None:
    worker = new_worker(daemon)
    add(worker, kind, lambda job: HOPELESS[job.name][0])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(worker.run)
        peer = await daemon.accept()
        await peer.serve("hello", {"limits": {"message_bytes": 5000, "workload_bytes": 4000}})
        await peer.serve("subscribe", {})
        for name, (_, reason) in HOPELESS.items():
            outcome = await peer.run_job(name=name)
            assert (outcome["outcome"], outcome["final"]) == ("failed", True)
            assert outcome["reason"].startswith(reason)
        await peer.close()
        nursery.cancel_scope.cancel()


async def test_an_outcome_of_too_many_values_is_hopeless_too(daemon: Daemon) -> None:
    """The daemon would close the connection over it, and over the next one again."""
    worker = new_worker(daemon)
    headers = {f"header-{i}": "with a value of its own" for i in range(64)}
    add(worker, "inline", lambda job: Done(submit=[NewJob("g", str(i), headers=headers) for i in range(1000)]))
    async with running(worker, daemon, ("f", 1)) as peer:
        outcome = await peer.run_job()
        assert outcome["final"]
        assert "TOO_LARGE: a message of more than 1048576 bytes may hold 100000 values" in outcome["reason"]


# -- many at once ------------------------------------------------------------------------------------------------------


async def test_runs_of_a_function_go_on_side_by_side_and_no_more_than_its_limit(daemon: Daemon, gate: Gate) -> None:
    worker = new_worker(daemon)
    worker.function("f", limit=2)(gate.run)
    async with running(worker, daemon, ("f", 2)) as peer:
        for name in "abcd":
            await peer.perform(name=name)
        await wait_all_tasks_blocked()
        assert sorted(gate.names) == ["a", "b"]
        gate.let_go("b", b"b")
        assert (await peer.expect_response()).result == b"b"
        await wait_all_tasks_blocked()
        assert gate.names[2:] == ["c"]
        for name in "ac":
            gate.let_go(name)
            await peer.expect_response()
        await wait_all_tasks_blocked()
        assert gate.names[3:] == ["d"]


async def test_a_thread_blocks_nobody_and_threads_have_a_connection_with_their_limit(
    daemon: Daemon, nursery: trio.Nursery, gate: Gate
) -> None:
    worker = new_worker(daemon, name="w", threads=1, credit=100)
    let_go = threading.Event()
    threads: list[int] = []

    @worker.function("t", limit=5)
    @worker.function("u", limit=5)
    def block(job: Job) -> bytes:
        threads.append(threading.get_ident())
        assert let_go.wait(60)
        return job.name.encode()

    worker.function("f", limit=7)(gate.run)
    started = trio.Event()

    async def start() -> None:
        await nursery.start(worker.run)
        started.set()

    nursery.start_soon(start)
    peers = {}
    for peer in [await daemon.accept() for _ in range(2)]:
        hello = await peer.serve("hello", HELLO)
        peers[hello.params[0]["credit"]] = peer
    in_thread, in_task = peers[1], peers[99]
    await in_thread.serve("subscribe", {}, "u", {"limit": 1})
    await in_thread.serve("subscribe", {}, "t", {"limit": 1})
    await wait_all_tasks_blocked()
    assert not started.is_set()
    await in_task.serve("subscribe", {}, "f", {"limit": 7})
    await started.wait()
    await in_thread.perform(func="t", name="slow")
    await in_task.perform(func="f", name="quick")
    await wait_all_tasks_blocked()
    gate.let_go("quick", b"quick")
    assert (await in_task.expect_response()).result == b"quick"
    let_go.set()
    assert (await in_thread.expect_response()).result == b"slow"
    assert threading.get_ident() not in threads
    worker.stop()
    nursery.start_soon(serve_to_the_end, in_task)
    await serve_to_the_end(in_thread)


async def never(job: Job) -> None: ...


@pytest.mark.parametrize(
    ("limits", "threads", "credit", "shares"),
    [
        ({"a": 1000}, 40, 1000, [("a", 1000)]),
        ({"s": 6}, 2, 1000, [("s", 1000)]),
        ({"s": 30, "t": 10}, 40, 1000, [("s t", 1000)]),
        ({"s": 30, "t": 30}, 40, 1000, [("s t", 40)]),
        ({"s": 30, "t": 30}, 40, 20, [("s t", 20)]),
        ({"s": 20, "a": 1000}, 40, 1000, [("s a", 1000)]),
        ({"s": 30, "a": 1000, "t": 30}, 40, 1000, [("s t", 40), ("a", 960)]),
        ({"s": 30, "a": 1000, "t": 30}, 40, 41, [("s t", 40), ("a", 1)]),
        ({"s": 30, "a": 1000, "t": 30}, 40, 40, [("s a t", 40)]),
    ],
    ids=str,
)
def test_the_connections_it_takes(
    limits: dict[str, int], threads: int, credit: int, shares: list[tuple[str, int]]
) -> None:
    """``a`` runs in tasks, the others in threads."""
    functions = {
        func: Function(never if func == "a" else lambda job: None, limit, inline=False)
        for func, limit in limits.items()
    }
    assert [(" ".join(each), credit) for each, credit in share(functions, threads, credit)] == shares


async def test_what_came_all_the_same_is_handed_back_in_half_its_lease(
    daemon: Daemon, gate: Gate, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    worker = new_worker(daemon)
    worker.function("f")(gate.run)
    async with running(worker, daemon, ("f", 1)) as peer:
        await peer.perform(name="begun")
        came_s = trio.current_time()
        waits = await peer.perform(name="waits", lease_ms=10_000)
        response = await peer.expect_response()
        assert (response.msgid, response.result) == (waits, {"outcome": "later"})
        assert trio.current_time() - came_s == pytest.approx(5)
        await peer.perform(name="begins", lease_ms=10_000)
        await trio.sleep(4)
        gate.let_go("begun")
        await peer.expect_response()
        await peer.expect_silence(6)
    assert gate.names == ["begun", "begins"]
    assert "f waits is handed back: it could not begin in half its lease" in caplog.text


async def test_what_waits_as_the_connection_is_lost_is_handed_back_once(
    daemon: Daemon, gate: Gate, autojump_clock: MockClock
) -> None:
    worker = new_worker(daemon)
    worker.function("f")(gate.run)
    async with running(worker, daemon, ("f", 1)) as peer:
        await peer.perform(name="begun", handle="hb")
        await peer.perform(name="waits", handle="hw", lease_ms=10_000)
        await wait_all_tasks_blocked()
        await peer.close()
        peer = await daemon.accept()
        await peer.serve("hello", HELLO)
        for _ in range(2):
            await peer.answer(await peer.expect_any(), {})
        await peer.expect_silence(6)


# -- the lease ---------------------------------------------------------------------------------------------------------


async def test_extend(daemon: Daemon) -> None:
    worker = new_worker(daemon)

    @worker.function("f")
    async def extending(job: Job) -> bytes:
        await job.extend()
        await job.extend(5000)
        with pytest.raises(LeaseLost, match="not running"):
            await job.extend()
        return b"lost" if job.lost else b"held"

    async with running(worker, daemon, ("f", 1)) as peer:
        await peer.perform(handle="h")
        await peer.serve("extend", EXTENDED, "h", {"lease_ms": None})
        await peer.serve("extend", EXTENDED, "h", {"lease_ms": 5000})
        await peer.refuse(await peer.expect("extend"), "LEASE_LOST: this is not running")
        assert (await peer.expect_response()).result == b"lost"


async def test_extend_in_a_thread(daemon: Daemon) -> None:
    worker = new_worker(daemon)

    @worker.function("f")
    def extending(job: Job) -> None:
        job.extend_sync()
        job.extend_sync(5000)

    async with running(worker, daemon, ("f", 1)) as peer:
        await peer.perform(handle="h")
        await peer.serve("extend", EXTENDED, "h", {"lease_ms": None})
        await peer.refuse(await peer.expect("extend", "h", {"lease_ms": 5000}), "LEASE_LOST: gone")
        assert (await peer.expect_response()).result == {"outcome": "failed", "reason": "LeaseLost: gone"}


async def test_what_a_job_tells_of_itself_is_sent_in_parts_of_64_kib(daemon: Daemon) -> None:
    worker = new_worker(daemon)

    @worker.function("f")
    async def telling(job: Job) -> None:
        await job.send("line")
        await job.send(b"x" * 70_000)
        await job.send(b"")
        await job.progress(1, 2, "cutting")
        await job.progress(2)

    async with running(worker, daemon, ("f", 1)) as peer:
        await peer.perform(handle="h")
        await peer.serve("data", {}, "h", b"line")
        await peer.serve("data", {}, "h", b"x" * 65_536)
        await peer.serve("data", {}, "h", b"x" * 4464)
        await peer.serve("progress", {}, "h", {"done": 1, "total": 2, "note": "cutting"})
        await peer.serve("progress", {}, "h", {"done": 2, "total": None, "note": None})
        assert (await peer.expect_response()).result is None


async def test_what_a_job_in_a_thread_tells_of_itself(daemon: Daemon) -> None:
    worker = new_worker(daemon)

    @worker.function("f")
    def telling(job: Job) -> None:
        job.send_sync(b"line")
        job.progress_sync(1, 2, "cutting")

    async with running(worker, daemon, ("f", 1)) as peer:
        await peer.perform(handle="h")
        await peer.serve("data", {}, "h", b"line")
        await peer.refuse(
            await peer.expect("progress", "h", {"done": 1, "total": 2, "note": "cutting"}), "LEASE_LOST: x"
        )
        assert (await peer.expect_response()).result == {"outcome": "failed", "reason": "LeaseLost: x"}


async def test_what_was_not_answered_is_told_again_over_the_next_connection(
    daemon: Daemon, autojump_clock: MockClock
) -> None:
    worker = new_worker(daemon)

    @worker.function("f")
    async def telling(job: Job) -> None:
        await job.send(b"line")

    async with running(worker, daemon, ("f", 1)) as peer:
        await peer.perform(handle="h")
        await peer.expect("data")
        await peer.close()
        peer = await daemon.accept()
        await peer.serve("hello", HELLO)
        methods = set()
        for _ in range(2):
            request = await peer.expect_any()
            methods.add(request.method)
            await peer.answer(request, EXTENDED)
        assert methods == {"extend", "data"}
        await peer.serve("finish", {}, "h", None)


# -- notices -----------------------------------------------------------------------------------------------------------


async def test_a_cancel_is_a_flag_unless_it_is_to_interrupt(
    daemon: Daemon, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    worker = new_worker(daemon)
    worker.function("f")(gate.run)
    async with running(worker, daemon, ("f", 1)) as peer:
        await peer.perform(handle="h")
        waits = await peer.perform(name="waits", handle="hw")
        await wait_all_tasks_blocked()
        assert not gate.begun[0].cancelled
        for _ in range(2):
            await peer.notice("h", "cancel", "not wanted")
        await peer.notice("hw", "cancel", "")
        await peer.notice("unheard of", "cancel", "")
        response = await peer.expect_response()
        assert (response.msgid, response.result) == (waits, {"outcome": "later"}), "never begun"
        assert (gate.begun[0].cancelled, gate.begun[0].lost) == (True, False)
        gate.let_go("n", b"done all the same")
        assert (await peer.expect_response()).result == b"done all the same"
    said = [record.getMessage() for record in caplog.records]
    assert said.count("f n: somebody asked to cancel it: not wanted") == 1


@pytest.mark.parametrize("kind", ["cancel", "lost"])
async def test_a_function_that_is_to_be_interrupted_is_cancelled(daemon: Daemon, kind: str) -> None:
    worker = new_worker(daemon)
    cleaned_up = []

    @worker.function("f", interrupt=True, limit=2)
    async def waits(job: Job) -> bytes | None:
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            cleaned_up.append((job.name, job.cancelled, job.lost))
            if job.name == "done":
                return b"done all the same"
            raise

    async with running(worker, daemon, ("f", 2)) as peer:
        for name in ("n", "done"):
            msgid = await peer.perform(name=name, handle=name)
            await wait_all_tasks_blocked()
            await peer.notice(name, kind)
            response = await peer.expect_response()
            assert response.msgid == msgid, "room comes back"
            assert response.result == (
                b"done all the same" if name == "done" else {"outcome": "failed", "reason": "it was interrupted"}
            )
    assert cleaned_up == [(name, kind == "cancel", kind == "lost") for name in ("n", "done")]


async def test_a_worker_that_is_stopped_at_once_while_it_interrupts_a_job_ends(daemon: Daemon) -> None:
    worker = new_worker(daemon)

    @worker.function("f", interrupt=True)
    async def holds_on(_: Job) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(0.05)
        await trio.sleep_forever()

    async with running(worker, daemon, ("f", 1)) as peer:
        await peer.perform(handle="h")
        await wait_all_tasks_blocked()
        await peer.notice("h", "cancel")
        await wait_all_tasks_blocked()


async def test_a_sync_function_cannot_be_interrupted(daemon: Daemon) -> None:
    worker = new_worker(daemon)
    for inline in (False, True):
        with pytest.raises(ValueError, match="only an async function can be interrupted"):
            worker.function("f", inline=inline, interrupt=True)(lambda job: None)


async def test_a_cancel_that_was_missed_is_told_by_the_next_extend(daemon: Daemon) -> None:
    worker = new_worker(daemon)

    @worker.function("f")
    async def extending(job: Job) -> str:
        await job.extend()
        return f"cancelled: {job.cancelled}"

    async with running(worker, daemon, ("f", 1)) as peer:
        await peer.perform(handle="h")
        await peer.serve("extend", EXTENDED | {"cancelled": True}, "h", {"lease_ms": None})
        assert (await peer.expect_response()).result["data"] == "cancelled: True"


@pytest.mark.parametrize("is_cancelled", [True, False])
async def test_what_happened_to_a_job_while_its_worker_was_away_interrupts_it_when_it_comes_back(
    daemon: Daemon, autojump_clock: MockClock, is_cancelled: bool
) -> None:
    worker = new_worker(daemon)
    ended = trio.Event()

    @worker.function("f", interrupt=True)
    async def waits(_: Job) -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.set()

    async with running(worker, daemon, ("f", 1)) as peer:
        await peer.perform(handle="h")
        await wait_all_tasks_blocked()
        await peer.close()
        peer = await daemon.accept()
        await peer.serve("hello", HELLO)
        extend = await peer.expect("extend")
        if is_cancelled:
            await peer.answer(extend, EXTENDED | {"cancelled": True})
        else:
            await peer.refuse(extend, "LEASE_LOST: it was removed")
        await ended.wait()


async def test_lost_reaches_the_running_job(daemon: Daemon, gate: Gate, caplog: pytest.LogCaptureFixture) -> None:
    worker = new_worker(daemon)
    worker.function("f")(gate.run)
    async with running(worker, daemon, ("f", 1)) as peer:
        await peer.perform(handle="h")
        await peer.notice("h", "lost")
        await wait_all_tasks_blocked()
        assert gate.begun[0].lost
        gate.let_go("n")
        await peer.expect_response()
        await peer.notice("h", "lost")
        await peer.notice("unheard of", "lost")
        await wait_all_tasks_blocked()
    assert "f n: this run no longer counts" in caplog.text
    assert "f n: its outcome came too late" in caplog.text
    assert "a run that is no longer known here: its outcome came too late" in caplog.text
    assert "unheard of" not in caplog.text, "a handle is for no log"


async def test_lost_before_it_began_it_never_begins(daemon: Daemon, gate: Gate) -> None:
    worker = new_worker(daemon)
    worker.function("f")(gate.run)
    async with running(worker, daemon, ("f", 1)) as peer:
        await peer.perform(name="begun")
        waits = await peer.perform(name="waits", handle="hw")
        await peer.notice("hw", "lost")
        response = await peer.expect_response()
        assert (response.msgid, response.result) == (waits, {"outcome": "later"}), (
            "room comes back with a response only"
        )
        gate.let_go("begun")
        await peer.expect_response()
        await peer.perform(name="next")
        await wait_all_tasks_blocked()
        assert gate.names == ["begun", "next"]


async def test_refused_is_logged_and_the_run_is_over(
    daemon: Daemon, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    worker = new_worker(daemon)
    add(worker, "inline", lambda job: Done(submit=[NewJob("g", "")]))
    async with running(worker, daemon, ("f", 1)) as peer:
        await peer.run_job(handle="h")
        await peer.notice("h", "refused", "submit[0].name is empty")
        await peer.notice("unheard of", "refused", "why")
        await peer.run_job(handle="next")
        await peer.close()
        peer = await daemon.accept()
        await peer.serve("hello", HELLO)
        assert (await peer.serve("finish", {})).params[0] == "next", "the other is not sent again"
        await peer.serve("subscribe", {})
    said = {record.getMessage(): record.levelno for record in caplog.records}
    assert said["f n: its outcome could not be read and counts as failed: submit[0].name is empty"] == logging.WARNING
    assert "a run that is no longer known here: its outcome could not be read and counts as failed: why" in said


async def test_stop_hands_back_at_once_what_has_not_begun(
    daemon: Daemon, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    worker = new_worker(daemon)
    worker.function("f")(gate.run)
    async with running(worker, daemon, ("f", 1)) as peer:
        begun = await peer.perform(name="begun", handle="hb")
        waiting = [await peer.perform(name=name, handle=name) for name in ("first", "second")]
        await wait_all_tasks_blocked()
        for handle in ("hb", "first", "second", "unheard of"):
            await peer.notice(handle, "stop")
        for msgid in waiting:
            response = await peer.expect_response()
            assert (response.msgid, response.result) == (msgid, {"outcome": "later"})
        assert not gate.begun[0].lost
        gate.let_go("begun", b"x")
        response = await peer.expect_response()
        assert (response.msgid, response.result) == (begun, b"x")
        await wait_all_tasks_blocked()
    assert gate.names == ["begun"]
    said = {record.getMessage(): record.levelno for record in caplog.records}
    assert said["f begun goes on: the daemon is stopping"] == logging.INFO
    assert said["f first is handed back before it began: the daemon is stopping"] == logging.INFO


async def test_it_survives_a_daemon_that_stops_and_comes_back(
    daemon: Daemon, gate: Gate, autojump_clock: MockClock
) -> None:
    worker = new_worker(daemon)
    worker.function("f")(gate.run)
    async with running(worker, daemon, ("f", 1)) as peer:
        await peer.perform(handle="h")
        await wait_all_tasks_blocked()
        await peer.notice("h", "stop")
        await peer.close()
        peer = await daemon.accept()
        await peer.serve("hello", HELLO | {"boot": 2})
        await peer.serve("extend", EXTENDED, "h", {"lease_ms": None, "own": True})
        await peer.expect_silence()
        gate.let_go("n", b"x")
        for request in [await peer.expect_any() for _ in range(2)]:
            assert request.params in (["h", b"x"], [{"credit": 1000}])
            await peer.answer(request, {})
        await peer.serve("subscribe", {}, "f", {"limit": 1})


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("notice", ["h", "a later kind", "text", {"and": "more"}]),
        ("notice", ["h", None, None]),
        ("notice", ["h"]),
        ("notice", []),
        ("notice", [["h"], "lost", "text"]),
        ("notice", [{}, {}, {}]),
        ("lost", ["h"]),
        ("news", []),
    ],
)
async def test_what_it_does_not_know_is_ignored(
    daemon: Daemon, gate: Gate, caplog: pytest.LogCaptureFixture, method: str, params: list[Any]
) -> None:
    worker = new_worker(daemon)
    worker.function("f")(gate.run)
    async with running(worker, daemon, ("f", 1)) as peer:
        msgid = await peer.perform(handle="h")
        await wait_all_tasks_blocked()
        await peer.send(encode_notification(method, params))
        await wait_all_tasks_blocked()
        assert not gate.begun[0].lost
        gate.let_go("n", b"x")
        response = await peer.expect_response()
        assert (response.msgid, response.result) == (msgid, b"x")
    assert not caplog.records


async def test_a_known_kind_with_more_than_is_known(daemon: Daemon, gate: Gate) -> None:
    worker = new_worker(daemon)
    worker.function("f")(gate.run)
    async with running(worker, daemon, ("f", 1)) as peer:
        await peer.perform(handle="h")
        await peer.send(encode_notification("notice", ["h", "lost", None, {"a later version": "knows more"}]))
        await wait_all_tasks_blocked()
        assert gate.begun[0].lost


# -- lost connections --------------------------------------------------------------------------------------------------


async def test_it_connects_again_for_ever_with_growing_waits(
    daemon: Daemon, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    daemon.is_down = True
    times: list[float] = []

    async def dial(url: str) -> trio.abc.Stream:
        times.append(trio.current_time())
        return await daemon.open_stream(url)

    worker = Worker(open_stream=dial, rng=Random(5))
    worker.function("f")(lambda job: None)
    nursery.start_soon(worker.run)
    await trio.sleep(60)
    backoff = Backoff(Random(5))
    for before, after in pairwise(times):
        assert after - before == pytest.approx(backoff.next_s())
    assert len(times) > 15
    daemon.is_down = False
    peer = await daemon.accept()
    await peer.serve_worker(("f", 1))
    await trio.sleep(6)
    await peer.close()
    closed_s = trio.current_time()
    await daemon.accept()
    assert times[-1] - closed_s <= 0.1, "a connection that lasted makes the waits short again"


async def test_connecting_has_a_time_limit(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    dialled = trio.Event()

    async def never(_: str) -> trio.abc.Stream:
        if trio.current_time() > began_s:
            dialled.set()
        await trio.sleep_forever()
        raise AssertionError

    began_s = trio.current_time()
    worker = Worker(open_stream=never)
    worker.function("f")(lambda job: None)
    nursery.start_soon(worker.run)
    await dialled.wait()
    assert 30 <= trio.current_time() - began_s < 31


async def test_what_ended_while_disconnected_is_delivered_before_anything_new_is_taken(
    daemon: Daemon, gate: Gate, autojump_clock: MockClock
) -> None:
    worker = new_worker(daemon)
    worker.function("f", limit=2)(gate.run)
    async with running(worker, daemon, ("f", 2)) as peer:
        await peer.perform(name="a", handle="ha")
        await peer.perform(name="b", handle="hb")
        await wait_all_tasks_blocked()
        daemon.is_down = True
        await peer.close()
        await wait_all_tasks_blocked()
        gate.let_go("a", b"result")
        gate.let_go("b", Failed("why"))
        await trio.sleep(2)
        daemon.is_down = False
        peer = await daemon.accept()
        await peer.serve("hello", HELLO)
        finishes = {request.params[0]: request for request in [await peer.expect("finish") for _ in range(2)]}
        assert finishes["ha"].params[1] == b"result"
        assert finishes["hb"].params[1] == {"outcome": "failed", "reason": "why"}
        await peer.expect_silence()
        for request in finishes.values():
            await peer.answer(request, {})
        await peer.serve("subscribe", {}, "f", {"limit": 2})


async def test_what_is_delivered_once_is_not_delivered_again(
    daemon: Daemon, gate: Gate, autojump_clock: MockClock
) -> None:
    worker = new_worker(daemon)
    worker.function("f")(gate.run)
    async with running(worker, daemon, ("f", 1)) as peer:
        await peer.perform(handle="h")
        await wait_all_tasks_blocked()
        await peer.close()
        peer = await daemon.accept()
        await peer.serve("hello", HELLO)
        await peer.serve("extend", EXTENDED, "h", {"lease_ms": None, "own": True})
        gate.let_go("n", b"x")
        unanswered = [await peer.expect_any() for _ in range(2)]
        assert ["h", b"x"] in [request.params for request in unanswered if request.method == "finish"]
        await peer.close()
        peer = await daemon.accept()
        await peer.serve("hello", HELLO)
        await peer.serve("finish", {}, "h", b"x")
        await peer.serve("subscribe", {})
        await peer.close()
        await (await daemon.accept()).serve_worker(("f", 1))


@pytest.mark.parametrize("was_sent", [True, False])
async def test_an_outcome_that_came_too_late_is_logged(
    daemon: Daemon, gate: Gate, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, was_sent: bool
) -> None:
    """Loudly only if it is news: what was sent before the connection broke has mostly arrived."""
    caplog.set_level(logging.INFO)
    worker = new_worker(daemon)
    worker.function("f")(gate.run)
    async with running(worker, daemon, ("f", 1)) as peer:
        await peer.perform(handle="h")
        await wait_all_tasks_blocked()
        if was_sent:
            gate.let_go("n")
            await peer.expect_response()
            await peer.close()
        else:
            await peer.close()
            await wait_all_tasks_blocked()
            gate.let_go("n")
        peer = await daemon.accept()
        await peer.serve("hello", HELLO)
        await peer.refuse(await peer.expect("finish", "h", None), "LEASE_LOST: this is not the latest run of a job")
        await peer.serve("subscribe", {})
    records = [record for record in caplog.records if "too late" in record.getMessage()]
    assert [record.levelno for record in records] == [logging.INFO if was_sent else logging.WARNING]
    assert "f n" in records[0].getMessage()


async def test_what_a_ping_has_shown_to_be_safe_is_not_sent_again(daemon: Daemon, autojump_clock: MockClock) -> None:
    worker = new_worker(daemon)
    add(worker, "inline", lambda job: b"x")
    async with running(worker, daemon, ("f", 1)) as peer:
        await peer.run_job(handle="safe")
        await peer.serve("ping", {})
        await peer.run_job(handle="unknown")
        await peer.close()
        peer = await daemon.accept()
        await peer.serve("hello", HELLO)
        await peer.serve("finish", {}, "unknown", b"x")
        await peer.serve("subscribe", {})


@pytest.mark.parametrize(("count", "data"), [(CONFIRM_REPORTS, b""), (2, bytes(CONFIRM_BYTES // 2))])
async def test_a_ping_follows_many_outcomes_so_that_few_are_kept(
    daemon: Daemon, autojump_clock: MockClock, count: int, data: bytes
) -> None:
    worker = new_worker(daemon)
    add(worker, "inline", lambda job: data)
    async with running(worker, daemon, ("f", 1)) as peer:
        for i in range(count):
            await peer.run_job(handle=str(i))
        sent_s = trio.current_time()
        await peer.serve("ping", {})
        assert trio.current_time() == sent_s
        await peer.run_job()


async def test_an_outcome_the_daemon_refuses_becomes_a_failure(
    daemon: Daemon, gate: Gate, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    worker = new_worker(daemon)
    worker.function("f")(gate.run)
    async with running(worker, daemon, ("f", 1)) as peer:
        await peer.perform(handle="h")
        await wait_all_tasks_blocked()
        await peer.close()
        await wait_all_tasks_blocked()
        gate.let_go("n", Done(submit=[NewJob("g", "n")]))
        peer = await daemon.accept()
        await peer.serve("hello", HELLO)
        await peer.refuse(await peer.expect("finish"), "INVALID: this daemon has a rule of its own")
        request = await peer.expect("finish")
        reason = "the outcome was refused: INVALID: this daemon has a rule of its own"
        assert request.params == ["h", {"outcome": "failed", "reason": reason, "final": True}]
        await peer.refuse(request, "BUSY: not now either")
        await peer.serve("subscribe", {})
    assert "f n: its outcome is dropped: BUSY" in caplog.text


async def test_a_run_that_outlives_its_connection_is_taken_over(
    daemon: Daemon, gate: Gate, autojump_clock: MockClock
) -> None:
    worker = new_worker(daemon)

    @worker.function("f", limit=2)
    async def extending(job: Job) -> Any:
        if job.name == "long":
            await job.extend(9000)
        return await gate(job)

    async with running(worker, daemon, ("f", 2)) as peer:
        await peer.perform(name="long", handle="hl")
        await peer.serve("extend", EXTENDED, "hl", {"lease_ms": 9000})
        await peer.perform(name="lost", handle="hx")
        await wait_all_tasks_blocked()
        await peer.close()
        peer = await daemon.accept()
        await peer.serve("hello", HELLO)
        extends = {request.params[0]: request for request in [await peer.expect("extend") for _ in range(2)]}
        assert extends["hl"].params == ["hl", {"lease_ms": 9000, "own": True}], "what it had asked for"
        assert extends["hx"].params == ["hx", {"lease_ms": None, "own": True}]
        await peer.answer(extends["hl"], EXTENDED)
        await peer.refuse(extends["hx"], "LEASE_LOST: this is not running")
        await wait_all_tasks_blocked()
        assert {job.name: job.lost for job in gate.begun} == {"long": False, "lost": True}


async def test_runs_of_a_lost_connection_leave_room_for_fewer_until_they_end(
    daemon: Daemon, gate: Gate, autojump_clock: MockClock
) -> None:
    """The daemon counts them as taking no room on the new connection; but they take our places."""
    worker = new_worker(daemon, credit=3)
    worker.function("f", limit=2)(gate.run)
    worker.function("g", limit=2)(gate.run)

    async def end(name: str) -> list[Any]:
        """What it says then, beside the outcome."""
        gate.let_go(name)
        said = []
        with trio.move_on_after(1):
            while True:
                request = await peer.expect_any()
                await peer.answer(request, HELLO)
                said += [[request.method, *request.params]] if request.method != "finish" else []
        return said

    async with running(worker, daemon, ("f", 2), ("g", 2)) as peer:
        for name, func in [("a", "f"), ("b", "f"), ("c", "g")]:
            await peer.perform(name=name, func=func, handle=name)
        await wait_all_tasks_blocked()
        await peer.close()
        peer = await daemon.accept()
        hello = await peer.serve("hello", HELLO)
        assert hello.params[0]["credit"] == 1, "the least that can be said"
        for _ in range(3):
            await peer.answer(await peer.expect("extend"), EXTENDED)
        await peer.expect_silence()
        assert await end("a") == [["subscribe", "f", {"limit": 1}], ["subscribe", "g", {"limit": 1}]]
        assert await end("c") == [["hello", {"credit": 2}], ["subscribe", "g", {"limit": 2}]]
        assert await end("b") == [["hello", {"credit": 3}], ["subscribe", "f", {"limit": 2}]]


async def test_a_run_not_begun_when_its_connection_is_lost_is_handed_back(
    daemon: Daemon, gate: Gate, autojump_clock: MockClock
) -> None:
    worker = new_worker(daemon)
    worker.function("f")(gate.run)
    async with running(worker, daemon, ("f", 1)) as peer:
        await peer.perform(name="begun", handle="hb")
        await peer.perform(name="waits", handle="hw")
        await wait_all_tasks_blocked()
        await peer.close()
        peer = await daemon.accept()
        await peer.serve("hello", HELLO)
        asked = {request.method: request for request in [await peer.expect_any() for _ in range(2)]}
        assert asked["finish"].params == ["hw", {"outcome": "later"}]
        assert asked["extend"].params == ["hb", {"lease_ms": None, "own": True}]


async def test_extend_waits_for_the_connection(daemon: Daemon, gate: Gate, autojump_clock: MockClock) -> None:
    worker = new_worker(daemon)

    @worker.function("f")
    async def extending(job: Job) -> bytes:
        await gate(job)
        await job.extend(1234)
        return b"extended"

    async with running(worker, daemon, ("f", 1)) as peer:
        await peer.perform(handle="h")
        await wait_all_tasks_blocked()
        daemon.is_down = True
        await peer.close()
        await wait_all_tasks_blocked()
        gate.let_go("n")
        await trio.sleep(3)
        daemon.is_down = False
        peer = await daemon.accept()
        await peer.serve("hello", HELLO)
        extends = [await peer.expect("extend") for _ in range(2)]
        options = [request.params[1] for request in extends]
        assert sorted(options, key=len) == [{"lease_ms": 1234}, {"lease_ms": None, "own": True}]
        for request in extends:
            await peer.answer(request, EXTENDED)
        requests = [await peer.expect_any() for _ in range(2)]
        assert sorted(request.method for request in requests) == ["finish", "hello"]


async def test_extend_gives_up_in_time(daemon: Daemon, gate: Gate, autojump_clock: MockClock) -> None:
    worker = new_worker(daemon)
    failures: list[Exception] = []

    @worker.function("f")
    async def extending(job: Job) -> None:
        await gate(job)
        began_s = trio.current_time()
        with pytest.raises(TimedOut, match="f n"):
            await job.extend()
        assert trio.current_time() - began_s == 30
        failures.append(TimedOut())

    async with running(worker, daemon, ("f", 1)) as peer:
        await peer.perform()
        await wait_all_tasks_blocked()
        daemon.is_down = True
        await peer.close()
        await wait_all_tasks_blocked()
        gate.let_go("n")
        await trio.sleep(31)
    assert failures


# -- silence -----------------------------------------------------------------------------------------------------------


async def test_it_pings_after_15_seconds_of_silence(daemon: Daemon, autojump_clock: MockClock) -> None:
    worker = new_worker(daemon)
    add(worker, "inline", lambda job: None)
    async with running(worker, daemon, ("f", 1)) as peer:
        for _ in range(3):
            before_s = trio.current_time()
            request = await peer.expect("ping")
            assert trio.current_time() - before_s == pytest.approx(15)
            await peer.answer(request, {})
        await trio.sleep(10)
        await peer.run_job()
        before_s = trio.current_time()
        await peer.expect("ping")
        assert trio.current_time() - before_s == pytest.approx(15), "the response counts as speaking"


async def test_it_pings_though_the_daemon_speaks_all_the_time(daemon: Daemon, autojump_clock: MockClock) -> None:
    """The daemon closes subscribed connections that are silent for 60 s, whatever it sends itself."""
    worker = new_worker(daemon)
    add(worker, "inline", lambda job: None)
    async with running(worker, daemon, ("f", 1)) as peer:
        for _ in range(2):
            await trio.sleep(7)
            await peer.notice("unheard of", "lost")
        spoke_s = trio.current_time()
        await peer.expect("ping")
        assert trio.current_time() - spoke_s == pytest.approx(1)


async def test_a_silent_daemon_is_noticed_though_the_worker_speaks_all_the_time(
    daemon: Daemon, gate: Gate, autojump_clock: MockClock
) -> None:
    worker = new_worker(daemon)
    worker.function("f", limit=9)(gate.run)
    async with running(worker, daemon, ("f", 9)) as peer:
        began_s = trio.current_time()
        for i in range(9):
            await peer.perform(name=str(i))
        for i in range(9):
            await trio.sleep(7)
            gate.let_go(str(i))
        with pytest.raises(trio.BrokenResourceError):
            await peer.notice("h", "lost")
        while await peer.receive() is not None:
            pass
        assert 45 <= trio.current_time() - began_s <= 63


async def test_a_silent_daemon_is_lost(daemon: Daemon, autojump_clock: MockClock) -> None:
    worker = new_worker(daemon)
    add(worker, "inline", lambda job: None)
    async with running(worker, daemon, ("f", 1)) as peer:
        await peer.expect("ping")
        asked_s = trio.current_time()
        assert await peer.receive() is None
        assert trio.current_time() - asked_s == pytest.approx(30)
        await (await daemon.accept()).serve_worker(("f", 1))


async def test_a_daemon_that_is_slow_but_speaks_is_not_lost(daemon: Daemon, autojump_clock: MockClock) -> None:
    worker = new_worker(daemon)
    add(worker, "inline", lambda job: None)
    async with running(worker, daemon, ("f", 1)) as peer:
        await peer.expect("ping")
        await trio.sleep(20)
        await peer.run_job()
        await trio.sleep(20)
        await peer.serve("ping", {})
        await peer.run_job()
    assert len(daemon.dialled) == 1


async def test_a_daemon_that_never_answers_hello_is_lost(
    daemon: Daemon, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    worker = new_worker(daemon)
    add(worker, "inline", lambda job: None)
    nursery.start_soon(worker.run)
    peer = await daemon.accept()
    await peer.expect("hello")
    await peer.expect("ping")
    assert await peer.receive() is None
    await (await daemon.accept()).serve_worker(("f", 1))


async def test_it_may_agree_on_a_longer_silence(daemon: Daemon) -> None:
    worker = new_worker(daemon, silence_ms=3_600_000)
    add(worker, "inline", lambda job: None)
    async with running(worker, daemon, ("f", 1)) as peer:
        await peer.close()
        hello = await (await daemon.accept()).serve_worker(("f", 1))
        assert hello["silence_ms"] == 3_600_000
    for wrong in (59_999, 3_600_001):
        with pytest.raises(ValueError, match=f"silence_ms is {wrong}; it goes from 60000 to 3600000"):
            Worker(silence_ms=wrong)


async def test_a_daemon_that_answered_while_the_interpreter_was_held_is_not_lost(
    daemon: Daemon, mock_clock: MockClock
) -> None:
    """C code that keeps the interpreter lock: the answer is there, only nobody could read it yet."""
    worker = new_worker(daemon)
    add(worker, "inline", lambda job: None)
    async with running(worker, daemon, ("f", 1)) as peer:
        for _ in range(20):
            await wait_all_tasks_blocked()
            mock_clock.jump(15)
            ping = await peer.expect("ping")
            await wait_all_tasks_blocked()
            await peer.answer(ping, {})
            mock_clock.jump(100)
            await wait_all_tasks_blocked()
            await peer.serve("ping", {})
        assert len(daemon.dialled) == 1


async def test_an_extend_that_was_answered_while_the_interpreter_was_held_holds(
    daemon: Daemon, gate: Gate, mock_clock: MockClock
) -> None:
    worker = new_worker(daemon)

    @worker.function("f")
    async def extending(job: Job) -> bytes:
        await job.extend()
        return b"held"

    async with running(worker, daemon, ("f", 1)) as peer:
        for _ in range(20):
            msgid = await peer.perform()
            extend = await peer.expect("extend")
            await wait_all_tasks_blocked()
            await peer.answer(extend, EXTENDED)
            mock_clock.jump(100)
            while isinstance(message := await peer.receive(), Request):
                await peer.answer(message, EXTENDED)
            assert isinstance(message, Response)
            assert (message.msgid, message.result) == (msgid, b"held")


# -- the end -----------------------------------------------------------------------------------------------------------


async def test_stop_without_runs(daemon: Daemon, nursery: trio.Nursery) -> None:
    worker = new_worker(daemon)
    add(worker, "inline", lambda job: None)
    over = trio.Event()

    async def run() -> None:
        await worker.run()
        over.set()

    nursery.start_soon(run)
    peer = await daemon.accept()
    await peer.serve_worker(("f", 1))
    await peer.run_job()
    worker.stop()
    await serve_to_the_end(peer)
    await over.wait()


async def test_stop_hands_back_what_is_not_begun_and_lets_the_rest_finish(
    daemon: Daemon, nursery: trio.Nursery, gate: Gate, autojump_clock: MockClock
) -> None:
    worker = new_worker(daemon, drain_s=10)
    worker.function("f")(gate.run)
    over = trio.Event()

    async def run() -> None:
        await worker.run()
        over.set()

    nursery.start_soon(run)
    peer = await daemon.accept()
    await peer.serve_worker(("f", 1))
    begun = await peer.perform(name="begun")
    waits = await peer.perform(name="waits")
    await wait_all_tasks_blocked()
    worker.stop()
    goodbye = await peer.expect("unsubscribe_all")
    assert goodbye.params == []
    assert await peer.run_job(name="on its way") == {"outcome": "later"}
    await peer.expect_silence()
    await peer.answer(goodbye, {})
    response = await peer.expect_response()
    assert (response.msgid, response.result) == (waits, {"outcome": "later"}), "only now: else it would come again"
    await trio.sleep(8)
    let_go_s = trio.current_time()
    gate.let_go("begun", b"x")
    response = await peer.expect_response()
    assert (response.msgid, response.result) == (begun, b"x")
    await serve_to_the_end(peer)
    await over.wait()
    assert trio.current_time() == let_go_s, "no longer than need be"
    assert gate.names == ["begun"]


async def test_stop_does_not_wait_for_ever(
    daemon: Daemon, gate: Gate, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    worker = new_worker(daemon, drain_s=10)
    worker.function("f")(gate.run)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(worker.run)
        peer = await daemon.accept()
        await peer.serve_worker(("f", 1))
        await peer.perform()
        await wait_all_tasks_blocked()
        stopped_s = trio.current_time()
        worker.stop()
        said = await serve_to_the_end(peer)
        assert trio.current_time() - stopped_s == pytest.approx(10)
    assert [message.method for message in said] == ["unsubscribe_all", "unsubscribe_all"]
    assert "1 unfinished runs" in caplog.text


async def test_stop_hands_back_what_waits_for_a_thread(daemon: Daemon) -> None:
    worker = new_worker(daemon, threads=1)
    let_go = threading.Event()

    @worker.function("f", limit=5)
    def block(job: Job) -> bytes:
        assert let_go.wait(60)
        return b"ended"

    async with trio.open_nursery() as nursery:
        nursery.start_soon(worker.run)
        peer = await daemon.accept()
        await peer.serve_worker(("f", 1))
        first, second = await peer.perform(), await peer.perform()
        await wait_all_tasks_blocked()
        worker.stop()
        await peer.serve("unsubscribe_all", {})
        response = await peer.expect_response()
        assert (response.msgid, response.result) == (second, {"outcome": "later"})
        let_go.set()
        response = await peer.expect_response()
        assert (response.msgid, response.result) == (first, b"ended")
        await serve_to_the_end(peer)


async def test_stop_does_not_wait_for_a_thread_for_ever(daemon: Daemon) -> None:
    worker = new_worker(daemon, drain_s=0)
    begun, let_go = trio.Event(), threading.Event()

    @worker.function("f")
    def block(job: Job) -> None:
        trio.from_thread.run_sync(begun.set)
        let_go.wait(60)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(worker.run)
        peer = await daemon.accept()
        await peer.serve_worker(("f", 1))
        await peer.perform()
        await begun.wait()
        worker.stop()
        await serve_to_the_end(peer)
    let_go.set()


async def test_stop_while_disconnected_still_delivers(
    daemon: Daemon, nursery: trio.Nursery, gate: Gate, autojump_clock: MockClock
) -> None:
    worker = new_worker(daemon)
    worker.function("f")(gate.run)
    nursery.start_soon(worker.run)
    peer = await daemon.accept()
    await peer.serve_worker(("f", 1))
    await peer.perform(handle="h")
    await wait_all_tasks_blocked()
    await peer.close()
    await wait_all_tasks_blocked()
    worker.stop()
    gate.let_go("n", b"x")
    peer = await daemon.accept()
    await peer.serve("hello", HELLO)
    finished_s = trio.current_time()
    await peer.serve("finish", {}, "h", b"x")
    assert [message.method for message in await serve_to_the_end(peer)] == ["unsubscribe_all"]
    assert trio.current_time() == finished_s, "no longer than need be"


async def test_stop_waits_until_the_last_outcome_has_arrived(
    daemon: Daemon, nursery: trio.Nursery, gate: Gate, autojump_clock: MockClock
) -> None:
    worker = new_worker(daemon)
    worker.function("f")(gate.run)
    nursery.start_soon(worker.run)
    peer = await daemon.accept()
    await peer.serve_worker(("f", 1))
    await peer.perform(handle="h")
    await wait_all_tasks_blocked()
    worker.stop()
    await peer.serve("unsubscribe_all", {})
    gate.let_go("n", b"x")
    await peer.expect_response()
    await peer.expect("ping")
    await peer.close()
    peer = await daemon.accept()
    await peer.serve("hello", HELLO)
    await peer.serve("finish", {}, "h", b"x")
    await serve_to_the_end(peer)


async def test_stop_before_the_first_connection(daemon: Daemon) -> None:
    daemon.is_down = True
    worker = new_worker(daemon)
    worker.function("f")(lambda job: None)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait_all_tasks_blocked)
        worker.stop()
        await nursery.start(worker.run)


async def test_a_function_may_stop_its_worker(daemon: Daemon) -> None:
    worker = new_worker(daemon)

    @worker.function("f")
    def last(job: Job) -> bytes:
        trio.from_thread.run_sync(worker.stop)
        return b"last"

    async with trio.open_nursery() as nursery:
        nursery.start_soon(worker.run)
        peer = await daemon.accept()
        await peer.serve_worker(("f", 1))
        await peer.perform()
        said = await serve_to_the_end(peer)
    assert [message.result for message in said if not isinstance(message, Request)] == [b"last"]


async def test_cancelled_it_says_goodbye(daemon: Daemon, gate: Gate, autojump_clock: MockClock) -> None:
    worker = new_worker(daemon)
    worker.function("f")(gate.run)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(worker.run)
        peer = await daemon.accept()
        await peer.serve_worker(("f", 1))
        await peer.perform()
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            assert [message.method for message in await serve_to_the_end(peer)] == ["unsubscribe_all"]


async def test_cancelled_it_waits_little_for_a_silent_daemon(daemon: Daemon, autojump_clock: MockClock) -> None:
    worker = new_worker(daemon)
    add(worker, "inline", lambda job: None)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(worker.run)
        peer = await daemon.accept()
        await peer.serve_worker(("f", 1))
        cancelled_s = trio.current_time()
        nursery.cancel_scope.cancel()
    assert trio.current_time() - cancelled_s == pytest.approx(2)


async def test_a_job_that_comes_while_it_says_goodbye_is_handed_back(
    daemon: Daemon, gate: Gate, autojump_clock: MockClock
) -> None:
    worker = new_worker(daemon)
    worker.function("f")(gate.run)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(worker.run)
        peer = await daemon.accept()
        await peer.serve_worker(("f", 1))
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            goodbye = await peer.expect("unsubscribe_all")
            assert await peer.run_job() == {"outcome": "later"}
            await peer.answer(goodbye, {})
            assert await peer.receive() is None
