"""The client: each method is its request, and whenever no answer comes there is an error that says what it means."""

import subprocess
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import periodic_client
from periodic_client import (
    CannotConnect,
    Client,
    ConnectionLost,
    Fired,
    Full,
    Invalid,
    Look,
    NewJob,
    Rate,
    Scheduled,
    ScheduledJob,
    Submitted,
    SubmittedGroup,
    TimedOut,
)
from periodic_client.wire import Busy, Request, TooLarge
from tests.client.call import Call
from tests.client.peer import Daemon, Peer

JOB = NewJob("f", "n")
JOB_WIRE = {"func": "f", "name": "n"}
CREATED = {"result": "created", "id": 1}
SCHEDULE = {
    "job": {"func": "f"}, "every_ms": None, "cron": None, "zone": None, "jitter_ms": None, "missed": None,
    "overlap": None, "from_at_ms": None, "until_at_ms": None,
}  # fmt: skip


@pytest.mark.parametrize(
    ("call", "method", "params", "answer", "result"),
    [
        (lambda c: c.submit(JOB), "submit", [JOB_WIRE], CREATED, Submitted("created", 1)),
        (
            lambda c: c.submit_batch([JOB, JOB]),
            "submit_batch",
            [[JOB_WIRE, JOB_WIRE]],
            {"results": ["created", "refused"], "ids": [1, 2]},
            [Submitted("created", 1), Submitted("refused", 2)],
        ),
        (lambda c: c.submit_batch([]), "submit_batch", [[]], {"results": [], "ids": []}, []),
        (
            lambda c: c.submit_group(NewJob("g", "n"), [JOB, JOB]),
            "submit_group",
            [{"then": {"func": "g", "name": "n"}, "jobs": [JOB_WIRE, JOB_WIRE], "sealed": True}],
            {"result": "created", "id": 1, "results": ["created", "refused"], "ids": [2, 3]},
            SubmittedGroup("created", 1, [Submitted("created", 2), Submitted("refused", 3)]),
        ),
        (
            lambda c: c.submit_group(JOB, sealed=False),
            "submit_group",
            [{"then": JOB_WIRE, "jobs": [], "sealed": False}],
            {"result": "added", "id": 1, "results": [], "ids": []},
            SubmittedGroup("added", 1, []),
        ),
        (lambda c: c.remove("f", "n"), "remove", ["f", "n", {"id": None}], {"result": "removed"}, "removed"),
        (lambda c: c.remove("f", "n", id=7), "remove", ["f", "n", {"id": 7}], {"result": "changed"}, "changed"),
        (lambda c: c.requeue("f", "n"), "requeue", ["f", "n", {"id": None}], {"result": "not_dead"}, "not_dead"),
        (
            lambda c: c.requeue("f", "n", id=7),
            "requeue",
            ["f", "n", {"id": 7}],
            {"result": "requeued", "id": 8},
            "requeued",
        ),
        (
            lambda c: c.get("f", "n"),
            "get",
            ["f", "n", {"id": None, "workload": False}],
            {"result": "absent", "job": None},
            None,
        ),
        (
            lambda c: c.get("f", "n", id=7),
            "get",
            ["f", "n", {"id": 7, "workload": False}],
            {"result": "changed"},
            None,
        ),
        (
            lambda c: c.get("f", "n", workload=True),
            "get",
            ["f", "n", {"id": None, "workload": True}],
            {"result": "found", "job": {"id": 1, "workload": b"w"}},
            {"id": 1, "workload": b"w"},
        ),
        (
            lambda c: c.cancel("f", "n", id=7, reason="why"),
            "cancel",
            ["f", "n", {"id": 7, "reason": "why"}],
            {"result": "asked"},
            "asked",
        ),
        (
            lambda c: c.move("f", "n", delay_ms=5, priority=0),
            "move",
            ["f", "n", {"id": None, "due_at_ms": None, "delay_ms": 5, "priority": 0}],
            {"result": "moved"},
            "moved",
        ),
        (
            lambda c: c.end_run("f", "n", count_as="later", reason="hangs"),
            "end_run",
            ["f", "n", {"id": None, "as": "later", "reason": "hangs"}],
            {"result": "ended"},
            "ended",
        ),
        (
            lambda c: c.look("f", "n", data=True),
            "get",
            ["f", "n", {"id": None, "workload": False, "data": True}],
            {"result": "absent", "job": None, "worker": None, "last": {"ending": "done", "data": b"r"}},
            Look(None, None, {"ending": "done", "data": b"r"}),
        ),
        (
            lambda c: c.look("f", "n"),
            "get",
            ["f", "n", {"id": None, "workload": False}],
            {"result": "found", "job": {"state": "parked"}, "worker": None, "last": None, "group": {"open": 2}},
            Look({"state": "parked"}, None, None, {"open": 2}),
        ),
        (
            lambda c: anext(c.workers("f")),
            "workers",
            [{"func": "f", "after": None, "limit": 1000}],
            {"workers": [{"connection": 1}], "next": None},
            {"connection": 1},
        ),
        (
            lambda c: c.set_lock("k", capacity=4, rate=Rate(10, 1000)),
            "set_lock",
            ["k", {"capacity": 4, "rate": {"count": 10, "per_ms": 1000}}],
            {},
            None,
        ),
        (lambda c: c.set_lock("k"), "set_lock", ["k", {"capacity": None, "rate": None}], {}, None),
        (
            lambda c: c.set_schedule("s", ScheduledJob("f"), cron="30 2 * * *", zone="Europe/Berlin", missed="once"),
            "set_schedule",
            ["s", SCHEDULE | {"cron": "30 2 * * *", "zone": "Europe/Berlin", "missed": "once"}],
            {"result": "created", "next_at_ms": 7},
            Scheduled("created", 7),
        ),
        (
            lambda c: c.set_schedule(
                "s", ScheduledJob("f"), every_ms=1000, jitter_ms=9, overlap="queue", from_at_ms=1, until_at_ms=2
            ),
            "set_schedule",
            ["s", SCHEDULE | {"every_ms": 1000, "jitter_ms": 9, "overlap": "queue", "from_at_ms": 1, "until_at_ms": 2}],
            {"result": "kept", "next_at_ms": None},
            Scheduled("kept", None),
        ),
        (lambda c: c.remove_schedule("s"), "remove_schedule", ["s"], {"result": "removed"}, "removed"),
        (lambda c: c.pause_schedule("s"), "pause_schedule", ["s"], {"result": "paused"}, "paused"),
        (lambda c: c.resume_schedule("s"), "resume_schedule", ["s"], {"result": "absent"}, "absent"),
        (lambda c: c.run_schedule("s"), "run_schedule", ["s"], {"result": "fired", "id": 3}, Fired("fired", 3)),
        (
            lambda c: c.next_times("s"),
            "next_times",
            ["s", {"count": None}],
            {"result": "found", "times": [1, 2]},
            [1, 2],
        ),
        (lambda c: c.next_times("s", 3), "next_times", ["s", {"count": 3}], {"result": "absent", "times": []}, None),
        (
            lambda c: c.list_page(),
            "list",
            [{"func": None, "state": None, "after": None, "limit": 100}],
            {"jobs": [], "next": None},
            ([], None),
        ),
        (
            lambda c: c.list_page("f", "dead", "7:a", 5),
            "list",
            [{"func": "f", "state": "dead", "after": "7:a", "limit": 5}],
            {"jobs": [{"id": 8}], "next": "8:b"},
            ([{"id": 8}], "8:b"),
        ),
        (
            lambda c: c.list_page(group_id=7),
            "list",
            [{"func": None, "state": None, "after": None, "limit": 100, "group_id": 7}],
            {"jobs": [{"id": 8}], "next": None},
            ([{"id": 8}], None),
        ),
        (lambda c: c.status(), "status", [{"prefix": None, "after": None, "limit": None}], {"boot": 1}, {"boot": 1}),
        (
            lambda c: c.status("f", "x", 5),
            "status",
            [{"prefix": "f", "after": "x", "limit": 5}],
            {"functions": [], "next": "y"},
            {"functions": [], "next": "y"},
        ),
        (lambda c: c.ping(), "ping", [], {}, None),
        (lambda c: c.hello(), "hello", [], {"protocol": 1}, {"protocol": 1}),
        (lambda c: c.shutdown(), "shutdown", [], {}, None),
        (lambda c: c.request("new", 1, "x"), "new", [1, "x"], [2], [2]),
    ],
)
async def test_methods(
    daemon: Daemon, nursery: trio.Nursery, call: Callable[[Client], Awaitable[Any]], method: str, params: list[Any],
    answer: Any, result: Any,
) -> None:  # fmt: skip
    async with Client(open_stream=daemon.open_stream) as client:
        asked = Call(nursery, call(client))
        peer = await daemon.accept()
        await peer.serve(method, answer, *params)
        assert await asked.result() == result


@pytest.mark.parametrize(
    ("call", "method", "answer", "result"),
    [
        (lambda c: c.submit(JOB), "submit", CREATED, Submitted("created", 1)),
        (
            lambda c: c.submit_batch([JOB]),
            "submit_batch",
            {"results": ["merged"], "ids": [1]},
            [Submitted("merged", 1)],
        ),
        (lambda c: c.submit_many([JOB]), "submit", CREATED, [Submitted("created", 1)]),
        (lambda c: c.remove("f", "n"), "remove", {"result": "hidden"}, "hidden"),
        (lambda c: c.requeue("f", "n"), "requeue", {"result": "absent"}, "absent"),
        (lambda c: c.get("f", "n"), "get", {"result": "moved"}, None),
        (
            lambda c: c.get("f", "n"),
            "get",
            {"result": "found", "job": {"state": "parked", "new": 1}},
            {"state": "parked", "new": 1},
        ),
        (lambda c: c.list_page(), "list", {"jobs": [{"state": "parked"}]}, ([{"state": "parked"}], None)),
        (
            lambda c: c.set_schedule("s", ScheduledJob("f"), every_ms=1000),
            "set_schedule",
            {"result": "merged"},
            Scheduled("merged", None),
        ),
        (lambda c: c.run_schedule("s"), "run_schedule", {"result": "missed"}, Fired("missed", None)),
        (lambda c: c.ping(), "ping", {}, None),
        (lambda c: c.shutdown(), "shutdown", {}, None),
    ],
)
async def test_answers_of_a_later_daemon_are_understood(
    daemon: Daemon, nursery: trio.Nursery, call: Callable[[Client], Awaitable[Any]], method: str,
    answer: dict[str, Any], result: Any,
) -> None:  # fmt: skip
    """It may add keys, leave out those that may be nil, and have words for results and states that are news here."""
    async with Client(open_stream=daemon.open_stream) as client:
        asked = Call(nursery, call(client))
        peer = await daemon.accept()
        await peer.serve(method, answer | {"a_later_version": {"knows": ["more"]}})
        assert await asked.result() == result


def list_query(after: str | None) -> dict[str, Any]:
    return {"func": "f", "state": None, "after": after, "limit": 1000}


async def test_list_goes_through_all_pages(daemon: Daemon, nursery: trio.Nursery) -> None:
    async def serve() -> None:
        peer = await daemon.accept()
        await peer.serve("list", {"jobs": [{"id": 1}, {"id": 2}], "next": "two"}, list_query(None))
        await peer.serve("list", {"jobs": [], "next": ""}, list_query("two"))
        await peer.serve("list", {"jobs": [{"id": 6}], "next": None}, list_query(""))

    nursery.start_soon(serve)
    async with Client(open_stream=daemon.open_stream) as client:
        assert [job["id"] async for job in client.list("f")] == [1, 2, 6]


async def test_a_list_says_the_whole_query(daemon: Daemon, nursery: trio.Nursery) -> None:
    more = {"prefix": "a", "due_from_at_ms": 1, "due_before_at_ms": 2, "reason": "disk"}

    async def serve() -> None:
        peer = await daemon.accept()
        await peer.serve("list", {"jobs": [], "next": None}, list_query(None) | more)
        query = {"func": None, "state": "dead", "after": "x", "limit": 7, "reason": "disk"}
        await peer.serve("list", {"jobs": [], "next": None}, query)

    nursery.start_soon(serve)
    async with Client(open_stream=daemon.open_stream) as client:
        found = client.list("f", prefix="a", due_from_at_ms=1, due_before_at_ms=2, reason="disk")
        assert [job async for job in found] == []
        assert await client.list_page(state="dead", after="x", limit=7, reason="disk") == ([], None)


@pytest.mark.parametrize(
    ("method", "call", "options"),
    [
        ("remove_matching", Client.remove_matching, {}),
        ("requeue_matching", Client.requeue_matching, {}),
        ("cancel_matching", partial(Client.cancel_matching, cancel_reason="sold"), {"reason": "sold"}),
        (
            "move_matching",
            partial(Client.move_matching, delay_ms=5, priority=-1),
            {"due_at_ms": None, "delay_ms": 5, "priority": -1},
        ),
        (
            "move_matching",
            partial(Client.move_matching, due_at_ms=7),
            {"due_at_ms": 7, "delay_ms": None, "priority": None},
        ),
    ],
)
async def test_a_request_on_many_goes_on_until_there_is_nothing_more(
    daemon: Daemon,
    nursery: trio.Nursery,
    method: str,
    call: Callable[..., Awaitable[int]],
    options: dict[str, Any],
) -> None:
    query = {"func": "f", "reason": "disk"}

    def said(after: str | None, dry_run: bool = False) -> dict[str, Any]:
        return {"dry_run": dry_run, "after": after, **options}

    async def serve() -> None:
        peer = await daemon.accept()
        await peer.serve(method, {"count": 1_000, "next": None}, {"all": True}, said(None, dry_run=True))
        await peer.serve(method, {"count": 100, "next": "a"}, query, said(None))
        busy = await peer.expect(method, query, said("a"))
        await peer.refuse(busy, "BUSY retry_after_ms=1: 8 listings are open already")
        await peer.serve(method, {"count": 0, "next": ""}, query, said("a"))
        await peer.serve(method, {"count": 5}, query, said(""))
        await peer.serve(method, {"count": 3, "next": "b"}, query, said(None))
        await peer.refuse(await peer.expect(method), "INVALID: no")

    nursery.start_soon(serve)
    counts: list[int] = []
    async with Client(open_stream=daemon.open_stream) as client:
        assert await call(client, all=True, dry_run=True) == 1_000
        assert await call(client, func="f", reason="disk", progress=counts.append) == 105
        assert counts == [100, 100, 105]
        with pytest.raises(Invalid):
            await call(client, func="f", reason="disk", progress=counts.append)
    assert counts[3:] == [3], "what was done before an error is told"


async def test_a_listing_may_be_left_early(daemon: Daemon, nursery: trio.Nursery) -> None:
    async def serve() -> None:
        peer = await daemon.accept()
        await peer.serve("list", {"jobs": [{"id": 1}, {"id": 2}], "next": "2"})

    nursery.start_soon(serve)
    async with Client(open_stream=daemon.open_stream) as client:
        async for job in client.list():
            assert job["id"] == 1
            break


async def test_functions_go_through_all_pages_of_status(daemon: Daemon, nursery: trio.Nursery) -> None:
    def query(after: str | None) -> dict[str, Any]:
        return {"prefix": "re", "after": after, "limit": 1000}

    async def serve() -> None:
        peer = await daemon.accept()
        await peer.serve("status", {"boot": 1, "functions": [{"func": "read"}], "next": "a"}, query(None))
        await peer.serve("status", {"boot": 1, "functions": [], "next": "b"}, query("a"))
        await peer.serve("status", {"boot": 1, "functions": [{"func": "resize"}]}, query("b"))

    nursery.start_soon(serve)
    async with Client(open_stream=daemon.open_stream) as client:
        assert [function["func"] async for function in client.functions("re")] == ["read", "resize"]


async def test_locks_go_through_all_pages(daemon: Daemon, nursery: trio.Nursery) -> None:
    def query(after: str | None) -> dict[str, Any]:
        return {"prefix": "p", "after": after, "limit": 1000}

    async def serve() -> None:
        peer = await daemon.accept()
        await peer.serve("locks", {"locks": [{"lock": "pa"}], "next": "a"}, query(None))
        await peer.serve("locks", {"locks": [], "next": "b"}, query("a"))
        await peer.serve("locks", {"locks": [{"lock": "pc"}], "next": None}, query("b"))

    nursery.start_soon(serve)
    async with Client(open_stream=daemon.open_stream) as client:
        assert [lock["lock"] async for lock in client.locks("p")] == ["pa", "pc"]


async def test_schedules_go_through_all_pages(daemon: Daemon, nursery: trio.Nursery) -> None:
    def query(after: str | None) -> dict[str, Any]:
        return {"prefix": "p", "after": after, "limit": 1000}

    async def serve() -> None:
        peer = await daemon.accept()
        await peer.serve("list_schedules", {"schedules": [{"schedule": "pa"}], "next": "a"}, query(None))
        await peer.serve("list_schedules", {"schedules": [], "next": "b"}, query("a"))
        await peer.serve("list_schedules", {"schedules": [{"schedule": "pc"}]}, query("b"))

    nursery.start_soon(serve)
    async with Client(open_stream=daemon.open_stream) as client:
        assert [schedule["schedule"] async for schedule in client.schedules("p")] == ["pa", "pc"]


async def test_many_tasks_share_one_connection(daemon: Daemon, nursery: trio.Nursery) -> None:
    async with Client(open_stream=daemon.open_stream) as client:
        calls = [Call(nursery, client.request("echo", i)) for i in range(20)]
        peer = await daemon.accept()
        requests = [await peer.expect("echo") for _ in calls]
        for request in reversed(requests):
            await peer.answer(request, request.params[0])
        assert [await call.result() for call in calls] == list(range(20))
    assert len(daemon.dialled) == 1


async def test_a_refusal_is_raised_and_the_connection_goes_on(daemon: Daemon, nursery: trio.Nursery) -> None:
    async with Client(open_stream=daemon.open_stream) as client:
        refused = Call(nursery, client.submit(JOB))
        peer = await daemon.accept()
        await peer.refuse(await peer.expect("submit"), "INVALID path=job.name: job.name is empty")
        with pytest.raises(Invalid, match=r"^job\.name is empty$") as invalid:
            await refused.result()
        assert invalid.value.details == {"path": "job.name"}
        busy = Call(nursery, client.list_page())
        await peer.refuse(await peer.expect("list"), "BUSY retry_after_ms=200: 8 pages are being made")
        with pytest.raises(Busy, match=r"^8 pages") as caught:
            await busy.result()
        assert caught.value.details == {"retry_after_ms": "200"}
        pinged = Call(nursery, client.ping())
        await peer.serve("ping", {})
        await pinged.result()


async def test_a_batch_has_a_limit() -> None:
    async with Client() as client:
        with pytest.raises(ValueError, match=r"1001 jobs.*submit_many"):
            await client.submit_batch([JOB] * 1001)
        with pytest.raises(ValueError, match=r"1001 jobs.*sealed=False"):
            await client.submit_group(JOB, [JOB] * 1001)


async def test_a_group_that_is_full_is_refused_as_a_whole(daemon: Daemon, nursery: trio.Nursery) -> None:
    async with Client(open_stream=daemon.open_stream) as client:
        asked = Call(nursery, client.submit_group(NewJob("g", "n"), [JOB]))
        peer = await daemon.accept()
        await peer.refuse(await peer.expect("submit_group"), "FULL: a function of the group has too many")
        with pytest.raises(Full, match="a function of the group"):
            await asked.result()


# -- connections -------------------------------------------------------------------------------------------------------


async def test_a_lost_connection_fails_the_calls_in_flight_and_the_next_call_connects(
    daemon: Daemon, nursery: trio.Nursery
) -> None:
    async with Client(open_stream=daemon.open_stream) as client:
        calls = [Call(nursery, client.submit(JOB)) for _ in range(3)]
        peer = await daemon.accept()
        for _ in calls:
            await peer.expect("submit")
        await peer.close()
        for call in calls:
            with pytest.raises(ConnectionLost, match="submitting the same name again is safe"):
                await call.result()
        again = Call(nursery, client.submit(JOB))
        await (await daemon.accept()).serve("submit", {"result": "replaced", "id": 2})
        assert await again.result() == ("replaced", 2)
    assert len(daemon.dialled) == 2, "nothing was sent again by itself"


async def test_a_refused_connection_names_the_url(daemon: Daemon) -> None:
    daemon.is_down = True
    async with Client("tcp://db:5001", open_stream=daemon.open_stream) as client:
        for _ in range(2):
            with pytest.raises(CannotConnect, match="tcp://db:5001"):
                await client.ping()
    assert daemon.dialled == ["tcp://db:5001"] * 2


async def test_nobody_listens_on_a_real_port() -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    await listeners[0].aclose()
    url = f"tcp://127.0.0.1:{port}"
    async with Client(url) as client:
        with pytest.raises(CannotConnect) as caught:
            await client.ping()
    assert str(caught.value) == f"cannot connect to {url}: Connection refused"


async def test_tcp_and_unix_sockets(nursery: trio.Nursery, tmp_path: Any) -> None:
    path = tmp_path / "p.sock"
    tcp = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
    unix = trio.socket.socket(trio.socket.AF_UNIX)
    await unix.bind(str(path))
    unix.listen()

    async def serve(stream: trio.abc.Stream) -> None:
        await Peer(stream).serve("ping", {})
        await stream.aclose()

    port = tcp.socket.getsockname()[1]
    for url, listener in [(f"tcp://127.0.0.1:{port}", tcp), (f"unix://{path}", trio.SocketListener(unix))]:
        async with Client(url) as client, trio.open_nursery() as serving:
            serving.start_soon(trio.serve_listeners, serve, [listener])
            await client.ping()
            serving.cancel_scope.cancel()


async def test_tasks_that_need_a_connection_at_once_make_one(daemon: Daemon, nursery: trio.Nursery) -> None:
    gate = trio.Event()

    async def slow(url: str) -> trio.abc.Stream:
        await gate.wait()
        return await daemon.open_stream(url)

    async with Client(open_stream=slow) as client:
        calls = [Call(nursery, client.ping()) for _ in range(5)]
        await wait_all_tasks_blocked()
        gate.set()
        peer = await daemon.accept()
        for _ in calls:
            await peer.serve("ping", {})
        for call in calls:
            await call.result()
    assert len(daemon.dialled) == 1


async def test_leaving_closes_the_connection_and_errors_come_out_as_they_are(
    daemon: Daemon, autojump_clock: trio.testing.MockClock
) -> None:
    with pytest.raises(KeyError, match="mine"):
        async with Client(open_stream=daemon.open_stream) as client:
            with trio.CancelScope() as scope:
                scope.cancel()
                await client.ping()
            raise KeyError("mine")
    with trio.move_on_after(5) as scope:
        async with Client(open_stream=daemon.open_stream) as client:
            await client.ping()
    assert scope.cancelled_caught


async def test_a_client_is_used_within_async_with(daemon: Daemon, nursery: trio.Nursery) -> None:
    client = Client(open_stream=daemon.open_stream)
    with pytest.raises(RuntimeError, match="async with"):
        await client.ping()
    for _ in range(2):
        async with client:
            pinged = Call(nursery, client.ping())
            peer = await daemon.accept()
            await peer.serve("ping", {})
            await pinged.result()
        assert await peer.receive() is None
    with pytest.raises(RuntimeError, match="async with"):
        await client.ping()


def test_a_bad_url_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="nonsense"):
        Client("nonsense")


# -- time --------------------------------------------------------------------------------------------------------------


async def test_no_answer_in_time(daemon: Daemon, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock) -> None:
    async with Client(open_stream=daemon.open_stream, timeout_s=7) as client:
        began_s = trio.current_time()
        asked = Call(nursery, client.submit(JOB))
        peer = await daemon.accept()
        with pytest.raises(TimedOut, match=r"submit in 7 s; the request may or may not have happened"):
            await asked.result()
        assert trio.current_time() - began_s == 7
        await peer.expect("submit")
        assert await peer.receive() is None, "a connection on which nothing comes is given up"
        pinged = Call(nursery, client.ping())
        await (await daemon.accept()).serve("ping", {})
        await pinged.result()


async def test_a_late_answer_on_a_living_connection_harms_nobody(
    daemon: Daemon, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    async with Client(open_stream=daemon.open_stream, timeout_s=10) as client:
        slow = Call(nursery, client.request("slow"))
        peer = await daemon.accept()
        late = await peer.expect("slow")
        await trio.sleep(5)
        fast = Call(nursery, client.request("fast"))
        await peer.serve("fast", 1)
        assert await fast.result() == 1
        with pytest.raises(TimedOut):
            await slow.result()
        await peer.answer(late, 2)
        fast = Call(nursery, client.request("fast"))
        await peer.serve("fast", 3)
        assert await fast.result() == 3
    assert len(daemon.dialled) == 1


async def test_connecting_counts_in_the_time(autojump_clock: trio.testing.MockClock) -> None:
    async def never(_: str) -> trio.abc.Stream:
        await trio.sleep_forever()
        raise AssertionError

    async with Client("tcp://far:1", open_stream=never, timeout_s=7) as client:
        with pytest.raises(CannotConnect, match="tcp://far:1: no answer in 7 s"):
            await client.ping()
        with pytest.raises(CannotConnect, match="no answer in 7 s"):
            await client.submit_many([JOB])


# -- submit_many -------------------------------------------------------------------------------------------------------


def jobs(count: int, workload: bytes = b"") -> list[NewJob]:
    return [NewJob("f", str(i), workload) for i in range(count)]


def names(requests: list[Request]) -> list[str]:
    return [request.params[0]["name"] for request in requests]


async def answer_with_name(peer: Peer, request: Request) -> None:
    name = request.params[0]["name"]
    await peer.answer(request, {"result": f"put {name}", "id": int(name)})


async def test_submit_many_keeps_a_window_full_and_the_results_in_order(
    daemon: Daemon, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    async with Client(open_stream=daemon.open_stream) as client:
        many = Call(nursery, client.submit_many(iter(jobs(25)), window=10))
        peer = await daemon.accept()
        first = [await peer.expect("submit") for _ in range(10)]
        assert names(first) == [str(i) for i in range(10)]
        await peer.expect_silence()
        for request in reversed(first):
            await answer_with_name(peer, request)
        for _ in range(15):
            request = await peer.expect("submit")
            await answer_with_name(peer, request)
        assert await many.result() == [Submitted(f"put {i}", i) for i in range(25)]


async def test_submit_many_of_none(daemon: Daemon) -> None:
    async with Client(open_stream=daemon.open_stream) as client:
        assert await client.submit_many([]) == []
        with pytest.raises(ValueError, match="window"):
            await client.submit_many([], window=0)


async def test_submit_many_stops_at_a_refusal_and_says_which(daemon: Daemon, nursery: trio.Nursery) -> None:
    async with Client(open_stream=daemon.open_stream) as client:
        many = Call(nursery, client.submit_many(jobs(100), window=4))
        peer = await daemon.accept()
        window = [await peer.expect("submit") for _ in range(4)]
        await peer.refuse(window[2], "INVALID: job.name is odd")
        await peer.answer(window[0], CREATED)
        await peer.answer(window[1], CREATED)
        await peer.answer(window[3], CREATED)
        with pytest.raises(Invalid, match=r"job.name is odd") as caught:
            await many.result()
        assert caught.value.__notes__ == ["submit_many: jobs[2], f 2"]
        pinged = Call(nursery, client.ping())
        await peer.serve("ping", {})
        await pinged.result()


async def test_submit_many_with_a_job_that_cannot_be_sent(daemon: Daemon, nursery: trio.Nursery) -> None:
    async with Client(open_stream=daemon.open_stream) as client:
        many = Call(nursery, client.submit_many([JOB, NewJob("f", "\udcff"), JOB]))
        peer = await daemon.accept()
        await peer.serve("submit", CREATED)
        with pytest.raises(Invalid, match="cannot be sent"):
            await many.result()


async def test_submit_many_over_a_lost_connection(daemon: Daemon, nursery: trio.Nursery) -> None:
    async with Client(open_stream=daemon.open_stream) as client:
        many = Call(nursery, client.submit_many(jobs(100), window=4))
        peer = await daemon.accept()
        await peer.serve("submit", CREATED)
        await peer.close()
        with pytest.raises(ConnectionLost):
            await many.result()


async def test_submit_many_without_answers(
    daemon: Daemon, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    async with Client(open_stream=daemon.open_stream, timeout_s=5) as client:
        many = Call(nursery, client.submit_many(jobs(100), window=4))
        await daemon.accept()
        with pytest.raises(TimedOut):
            await many.result()


async def test_submit_many_of_large_jobs_does_not_fill_the_memory(
    daemon: Daemon, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    daemon.pair = trio.testing.lockstep_stream_pair
    taken: list[NewJob] = []

    def large() -> Any:
        for job in jobs(200, bytes(100_000)):
            taken.append(job)
            yield job

    async with Client(open_stream=daemon.open_stream) as client:
        many = Call(nursery, client.submit_many(large()))
        peer = await daemon.accept()
        await wait_all_tasks_blocked()
        assert len(taken) < 30
        for _ in range(200):
            await peer.serve("submit", CREATED)
        assert await many.result() == [Submitted("created", 1)] * 200


async def test_a_message_larger_than_any_daemon_takes_is_not_sent(daemon: Daemon) -> None:
    async with Client(open_stream=daemon.open_stream) as client:
        with pytest.raises(TooLarge, match="not sent"):
            await client.submit(NewJob("f", "n", bytes(34_000_000)))


# -- the package -------------------------------------------------------------------------------------------------------


def test_the_wire_needs_no_trio() -> None:
    program = "import sys; sys.modules['trio'] = None; import periodic_client.wire; periodic_client.NewJob('f', 'n')"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_all_names_are_there() -> None:
    for name in periodic_client.__all__:
        assert getattr(periodic_client, name)
    with pytest.raises(AttributeError, match="Nonsense"):
        periodic_client.Nonsense  # noqa: B018
