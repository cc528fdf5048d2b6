"""What a client waits for, against the daemon's side spoken by hand: no lost connection loses a result or runs a job
twice, and who stops waiting has the daemon told so.
"""

from collections.abc import Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from periodic_client import (
    CannotConnect,
    Client,
    Extended,
    Group,
    JobCancelled,
    JobDead,
    JobExpired,
    JobRefused,
    JobRemoved,
    JobReplaced,
    LeaseLost,
    NewJob,
    News,
    NotDone,
    ResultLost,
    TakenJob,
    TimedOut,
)
from periodic_client.outcomes import Failed, WrongValue
from periodic_client.wire import Busy, Request
from tests.client.call import Call
from tests.client.peer import EXTENDED, Daemon, Peer

JOB = NewJob("f", "n", result_ms=5000)
JOB_WIRE = {"func": "f", "name": "n", "result_ms": 5000}
CREATED = {"result": "created", "id": 7}
WAITING = {
    "result": "found", "id": 7, "ended": False, "ending": None, "data": None, "data_bytes": 0, "reason": None,
    "state": "waiting", "attempt": 0, "progress": None, "chunks": [], "missed": 0, "next": "w1", "later": "more",
}  # fmt: skip
DONE = WAITING | {"ended": True, "ending": "done", "data": b"r", "data_bytes": 1, "state": None, "attempt": 1}
ABSENT = dict.fromkeys(WAITING) | {"result": "absent", "ended": False, "data_bytes": 0, "chunks": []}
TAKEN: dict[str, Any] = {
    "handle": "h", "run": 1, "func": "f", "name": "n", "workload": b"w", "headers": {}, "due_at_ms": 5, "priority": 0,
    "lease_ms": 1000, "attempt": 1, "failures": 0, "crashes": 0,
}  # fmt: skip


def watch(job_id: int | None = None, after: str | None = None, only_end: bool = True) -> list[Any]:
    return ["f", "n", {"id": job_id, "after": after, "timeout_ms": 60_000, "only_end": only_end}]


@pytest.fixture
async def client(daemon: Daemon) -> Any:
    async with Client(open_stream=daemon.open_stream) as client:
        yield client


async def asked_both(peer: Peer, **changed: Any) -> tuple[Request, Request]:
    submit = await peer.expect("submit", JOB_WIRE | changed)
    return submit, await peer.expect("watch", *watch())


# -- call --------------------------------------------------------------------------------------------------------------


async def test_a_call_is_a_submit_and_a_watch_in_one_write(
    daemon: Daemon, client: Client, nursery: trio.Nursery
) -> None:
    called = Call(nursery, client.call(JOB))
    peer = await daemon.accept()
    await wait_all_tasks_blocked()
    submit, asked = await asked_both(peer)
    await peer.answer(submit, CREATED)
    await peer.answer(asked, DONE)
    assert await called.result() == b"r"


async def test_a_job_without_result_ms_has_its_result_kept_for_ten_minutes(
    daemon: Daemon, client: Client, nursery: trio.Nursery
) -> None:
    called = Call(nursery, client.call(NewJob("f", "n")))
    peer = await daemon.accept()
    await peer.serve("submit", CREATED, {"func": "f", "name": "n", "result_ms": 600_000})
    await peer.serve("watch", DONE | {"data": None, "data_bytes": 0})
    assert await called.result() == b"", "done, without data"


@pytest.mark.parametrize(
    ("answer", "kind", "text"),
    [
        ({"ending": "dead", "reason": "no picture"}, JobDead, "f n failed and is not tried again: no picture"),
        ({"ending": "removed"}, JobRemoved, "f n was removed"),
        ({"ending": "replaced"}, JobReplaced, "f n was replaced by a newer job of its name"),
        ({"ending": "cancelled", "reason": "why"}, JobCancelled, "f n was cancelled: why"),
        ({"ending": "expired", "reason": None}, JobExpired, "f n expired"),
        ({"ending": "of a later version"}, NotDone, "f n ended otherwise than done"),
        ({"data": None, "data_bytes": 70_000}, ResultLost, "f n is not there, and no result of it is kept"),
    ],
)
async def test_it_raises_by_the_ending(
    daemon: Daemon, client: Client, nursery: trio.Nursery, answer: dict[str, Any], kind: type[NotDone], text: str
) -> None:
    called = Call(nursery, client.call(JOB))
    peer = await daemon.accept()
    submit, asked = await asked_both(peer)
    await peer.answer(submit, CREATED)
    await peer.answer(asked, DONE | answer)
    with pytest.raises(NotDone) as raised:
        await called.result()
    assert (type(raised.value), str(raised.value)) == (kind, text)
    told = raised.value
    assert (told.id, told.attempt, told.ending) == (7, 1, answer.get("ending", "done"))


async def test_a_job_that_is_refused_for_the_sake_of_another_was_not_put(
    daemon: Daemon, client: Client, nursery: trio.Nursery
) -> None:
    called = Call(nursery, client.call(JOB))
    peer = await daemon.accept()
    submit, asked = await asked_both(peer)
    await peer.answer(submit, {"result": "refused", "id": 3})
    with pytest.raises(JobRefused, match="f n exists already"):
        await called.result()
    await peer.expect("unwait", asked.msgid)


async def test_behind_another_job_it_waits_for_its_own_and_not_for_the_other(
    daemon: Daemon, client: Client, nursery: trio.Nursery
) -> None:
    called = Call(nursery, client.call(JOB))
    peer = await daemon.accept()
    submit, asked = await asked_both(peer)
    await peer.answer(submit, {"result": "queued_behind", "id": 7})
    await peer.serve("unwait", {}, asked.msgid)
    await peer.answer(asked, WAITING | {"id": 3})
    await peer.serve("watch", DONE, *watch(7))
    assert await called.result() == b"r"


async def test_when_another_job_came_first_it_watches_again_by_id(
    daemon: Daemon, client: Client, nursery: trio.Nursery
) -> None:
    called = Call(nursery, client.call(JOB))
    peer = await daemon.accept()
    submit, asked = await asked_both(peer)
    await peer.answer(submit, {"result": "kept", "id": 7})
    await peer.answer(asked, DONE | {"id": 3, "data": b"another's"})
    await peer.serve("watch", DONE, *watch(7))
    assert await called.result() == b"r"


async def test_while_it_goes_on_it_asks_again(daemon: Daemon, client: Client, nursery: trio.Nursery) -> None:
    called = Call(nursery, client.call(JOB))
    peer = await daemon.accept()
    submit, asked = await asked_both(peer)
    await peer.answer(submit, CREATED)
    await peer.answer(asked, WAITING)
    await peer.serve("watch", WAITING | {"next": "w2"}, *watch(7, "w1"))
    await peer.serve("watch", DONE, *watch(7, "w2"))
    assert await called.result() == b"r"


# -- lost connections --------------------------------------------------------------------------------------------------


async def test_without_a_daemon_nothing_happened(daemon: Daemon, client: Client) -> None:
    daemon.is_down = True
    with pytest.raises(CannotConnect):
        await client.call(JOB)
    assert len(daemon.dialled) == 1


async def test_a_lost_answer_to_the_submit_makes_it_keep_what_is_there(
    daemon: Daemon, client: Client, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    called = Call(nursery, client.call(JOB))
    for _ in range(2):
        peer = await daemon.accept()
        await peer.expect("submit")
        await peer.close()
    peer = await daemon.accept()
    submit, asked = await asked_both(peer, existing="keep")
    await peer.answer(submit, {"result": "kept", "id": 7})
    await peer.answer(asked, DONE)
    assert await called.result() == b"r"


@pytest.mark.parametrize("answered_watches", [0, 1, 2])
async def test_once_the_submit_was_answered_it_is_never_sent_again(
    daemon: Daemon, client: Client, nursery: trio.Nursery, autojump_clock: MockClock, answered_watches: int
) -> None:
    called = Call(nursery, client.call(JOB))
    peer = await daemon.accept()
    submit, asked = await asked_both(peer)
    await peer.answer(submit, CREATED)
    for _ in range(answered_watches):
        await peer.answer(asked, WAITING)
        asked = await peer.expect("watch")
    await peer.close()
    daemon.is_down = True
    await trio.sleep(60)
    daemon.is_down = False
    peer = await daemon.accept()
    await peer.serve("watch", DONE, *watch(7, "w1" if answered_watches else None))
    assert await called.result() == b"r"


async def test_a_thousand_that_wait_dial_a_daemon_that_is_down_once_for_all(
    daemon: Daemon, client: Client, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    calls = [Call(nursery, client.call(JOB)) for _ in range(1000)]
    peer = await daemon.accept()
    for _ in calls:
        await peer.serve("submit", CREATED)
        await peer.expect("watch")
    await peer.close()
    daemon.is_down = True
    await trio.sleep(60)
    assert len(daemon.dialled) < 40
    daemon.is_down = False
    peer = await daemon.accept()
    for _ in calls:
        await peer.serve("watch", DONE, *watch(7))
    for each in calls:
        assert await each.result() == b"r"


async def test_a_daemon_that_forgot_the_job_is_no_result(
    daemon: Daemon, client: Client, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    called = Call(nursery, client.call(JOB))
    peer = await daemon.accept()
    submit, _ = await asked_both(peer)
    await peer.answer(submit, CREATED)
    await wait_all_tasks_blocked()
    await peer.close()
    peer = await daemon.accept()
    await peer.serve("watch", ABSENT)
    with pytest.raises(ResultLost):
        await called.result()


async def test_a_daemon_that_is_too_busy_to_let_it_wait_is_asked_again(
    daemon: Daemon, client: Client, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    called = Call(nursery, client.call(JOB))
    peer = await daemon.accept()
    submit, asked = await asked_both(peer)
    await peer.answer(submit, CREATED)
    await peer.refuse(asked, "BUSY: 20,000 requests wait already")
    await peer.refuse(await peer.expect("watch", *watch(7)), "BUSY: 20,000 requests wait already")
    await peer.serve("watch", DONE, *watch(7))
    assert await called.result() == b"r"


async def test_a_first_submit_that_is_refused_is_told(daemon: Daemon, client: Client, nursery: trio.Nursery) -> None:
    called = Call(nursery, client.call(JOB))
    peer = await daemon.accept()
    submit, asked = await asked_both(peer)
    await peer.refuse(submit, "BUSY: full")
    with pytest.raises(Busy):
        await called.result()
    await peer.expect("unwait", asked.msgid)


async def test_a_daemon_that_says_nothing_after_its_time_is_left_for_a_new_connection(
    daemon: Daemon, client: Client, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    called = Call(nursery, client.call(JOB))
    peer = await daemon.accept()
    submit, _ = await asked_both(peer)
    await peer.answer(submit, CREATED)
    began_s = trio.current_time()
    second = await daemon.accept()
    assert 90 <= trio.current_time() - began_s < 92
    await second.serve("watch", DONE, *watch(7))
    assert await called.result() == b"r"


# -- who has enough ----------------------------------------------------------------------------------------------------


async def test_a_time_limit_is_told_to_the_daemon_and_raised(
    daemon: Daemon, client: Client, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    called = Call(nursery, client.call(JOB, timeout_s=5))
    peer = await daemon.accept()
    submit, asked = await asked_both(peer)
    await peer.answer(submit, CREATED)
    await peer.expect("unwait", asked.msgid)
    assert trio.current_time() == pytest.approx(5)
    with pytest.raises(TimedOut, match=r"f n has not ended in 5 s.* it goes on"):
        await called.result()


async def test_a_time_limit_holds_while_the_daemon_is_down(
    daemon: Daemon, client: Client, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    called = Call(nursery, client.call(JOB, timeout_s=5))
    peer = await daemon.accept()
    await asked_both(peer)
    daemon.is_down = True
    await peer.close()
    with pytest.raises(TimedOut):
        await called.result()
    assert trio.current_time() == pytest.approx(5)


WAITS: list[Callable[[Client], Any]] = [
    lambda client: client.call(JOB),
    lambda client: anext(client.watch("f", "n")),
    lambda client: client.take("f"),
    lambda client: anext(client.events()),
]


@pytest.mark.parametrize("wait", WAITS)
async def test_who_is_cancelled_has_the_daemon_told(
    daemon: Daemon, client: Client, nursery: trio.Nursery, wait: Callable[[Client], Any]
) -> None:
    scope = trio.CancelScope()

    async def waits() -> None:
        with scope:
            await wait(client)

    nursery.start_soon(waits)
    peer = await daemon.accept()
    asked = await peer.expect_any()
    if asked.method == "submit":
        await peer.answer(asked, CREATED)
        asked = await peer.expect_any()
    await wait_all_tasks_blocked()
    scope.cancel()
    await peer.serve("unwait", {}, asked.msgid)
    await peer.answer(asked, {"jobs": []})
    await wait_all_tasks_blocked()
    pinged = Call(nursery, client.ping())
    await peer.serve("ping", {})
    await pinged.result()


# -- watch -------------------------------------------------------------------------------------------------------------


async def test_a_watch_tells_each_piece_of_news_once_over_lost_connections(
    daemon: Daemon, client: Client, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    told: list[News] = []

    async def follow() -> None:
        async for news in client.watch("f", "n"):
            told.append(news)  # noqa: PERF401 - as it comes

    followed = Call(nursery, follow())
    peer = await daemon.accept()
    await peer.serve("watch", WAITING, *watch(only_end=False))
    running = WAITING | {"state": "running", "attempt": 1, "chunks": [b"a", b"b"], "next": "w2"}
    await peer.serve("watch", running, *watch(7, "w1", only_end=False))
    await peer.serve("watch", running | {"chunks": []}, *watch(7, "w2", only_end=False))
    await peer.expect("watch", *watch(7, "w2", only_end=False))
    await peer.close()
    peer = await daemon.accept()
    progress = {"progress": {"done": 1, "total": None, "note": None}, "missed": None, "chunks": [b"c"], "next": "w3"}
    await peer.serve("watch", running | progress, *watch(7, "w2", only_end=False))
    await peer.serve("watch", DONE, *watch(7, "w3", only_end=False))
    await followed.result()
    assert [(each.state, each.chunks, each.missed, each.ended) for each in told] == [
        ("waiting", (), 0, False),
        ("running", (b"a", b"b"), 0, False),
        ("running", (b"c",), None, False),
        (None, (), 0, True),
    ]
    assert told[2].progress == (1, None, "")


async def test_a_watch_of_what_is_not_there_says_so(daemon: Daemon, client: Client, nursery: trio.Nursery) -> None:
    watched = Call(nursery, anext(client.watch("f", "n", id=9)))
    peer = await daemon.accept()
    await peer.serve("watch", ABSENT | {"result": "changed"}, *watch(9, only_end=False))
    with pytest.raises(ResultLost, match="f n is not there"):
        await watched.result()


async def test_submit_and_watch_tells_all_to_the_end(daemon: Daemon, client: Client, nursery: trio.Nursery) -> None:
    async def states() -> list[str | None]:
        return [news.state async for news in client.submit_and_watch(JOB)]

    followed = Call(nursery, states())
    peer = await daemon.accept()
    await peer.serve("submit", CREATED, JOB_WIRE)
    await peer.serve("watch", WAITING, *watch(only_end=False))
    await peer.serve("watch", DONE, *watch(7, "w1", only_end=False))
    assert await followed.result() == ["waiting", None]


# -- events ------------------------------------------------------------------------------------------------------------


async def test_events_come_page_by_page_and_what_was_missed_is_told(
    daemon: Daemon, client: Client, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    kinds: list[str] = []

    async def follow() -> None:
        async for event in client.events(kinds=["done"], func="f"):
            kinds.append(f"{event['kind']} {event['text']}")  # noqa: PERF401 - as it comes

    nursery.start_soon(follow)
    query = {"after": None, "timeout_ms": 60_000, "kinds": ["done"], "func": "f", "limit": None}
    event = {"kind": "done", "text": None}
    peer = await daemon.accept()
    await peer.serve("events", {"events": [event, event], "missed": 0, "next": "e1"}, query)
    await peer.serve("events", {"events": [], "missed": 0, "next": "e1"}, query | {"after": "e1"})
    await peer.serve("events", {"events": [event], "missed": 12, "next": "e2"}, query | {"after": "e1"})
    await peer.expect("events", query | {"after": "e2"})
    await peer.close()
    peer = await daemon.accept()
    await peer.serve("events", {"events": [], "missed": None, "next": "e3"}, query | {"after": "e2"})
    await peer.expect("events", query | {"after": "e3"})
    assert kinds == [
        "done None",
        "done None",
        "not_kept events are not kept any more: 12",
        "done None",
        "not_kept events are not kept any more: it is not known how many",
    ]


# -- take --------------------------------------------------------------------------------------------------------------


async def test_take_finish_and_extend(daemon: Daemon, client: Client, nursery: trio.Nursery) -> None:
    taken = Call(nursery, client.take("f", "g", max=3, wait_s=0.5, lease_ms=2000))
    peer = await daemon.accept()
    options = {"funcs": ["f", "g"], "max": 3, "wait_ms": 500, "lease_ms": 2000}
    await peer.serve("take", {"jobs": [TAKEN | {"a_later_version": "knows more"}]}, options)
    assert await taken.result() == [TakenJob(**TAKEN)]
    assert TakenJob(**TAKEN).group is None
    told = {"group-members": "4", "group-done": "3", "group-dead": "1", "group-removed": "0", "group-cancelled": "0"}
    told["group-expired"] = "0"
    assert TakenJob(**TAKEN | {"headers": told}).group == Group(4, done=3, dead=1, removed=0, cancelled=0, expired=0)
    extended = Call(nursery, client.extend("h", 5000))
    await peer.serve("extend", EXTENDED | {"cancelled": True}, "h", {"lease_ms": 5000})
    assert await extended.result() == Extended(600_000, cancelled=True)
    for outcome, wire in ((None, None), (b"r", b"r"), (Failed("why"), {"outcome": "failed", "reason": "why"})):
        finished = Call(nursery, client.finish("h", outcome))
        await peer.refuse(await peer.expect("finish", "h", wire), "LEASE_LOST: too late")
        with pytest.raises(LeaseLost):
            await finished.result()
    with pytest.raises(WrongValue):
        await client.finish("h", 5)  # type: ignore[arg-type]


async def test_jobs_that_come_when_nobody_waits_any_more_are_handed_back(
    daemon: Daemon, client: Client, nursery: trio.Nursery
) -> None:
    scope = trio.CancelScope()

    async def takes() -> None:
        with scope:
            await client.take("f")

    nursery.start_soon(takes)
    peer = await daemon.accept()
    asked = await peer.expect("take")
    scope.cancel()
    await peer.expect("unwait")
    await peer.answer(asked, {"jobs": [TAKEN]})
    await peer.expect("finish", "h", {"outcome": "later"})
