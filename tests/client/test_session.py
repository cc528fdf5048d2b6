"""One connection: answers find their requests, and whatever the other side does ends in an error that says so."""

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import lockstep_stream_pair, memory_stream_pair, wait_all_tasks_blocked

from periodic_client import ConnectionLost, Invalid, PeriodicError
from periodic_client.session import OUTBOX_BYTES, Session, open_stream
from periodic_client.wire import (
    MSGID_MAX,
    Busy,
    Notification,
    Request,
    TooLarge,
    UnknownError,
    encode_notification,
    encode_request,
    encode_response,
)
from tests.client.peer import Peer

Link = tuple[Session, Peer]


class Heard:
    """Takes the daemon's messages and answers none."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.notifications: list[Notification] = []

    def on_request(self, _: Session, request: Request) -> None:
        self.requests.append(request)

    def on_notification(self, _: Session, notification: Notification) -> None:
        self.notifications.append(notification)


@pytest.fixture
async def link(nursery: trio.Nursery) -> AsyncIterator[Link]:
    ours, theirs = memory_stream_pair()
    session = Session(ours)
    nursery.start_soon(session.run)
    yield session, Peer(theirs)
    session.close("the test is over")


class Asked:
    """A request under way, and in the end its result or error."""

    def __init__(self, nursery: trio.Nursery, session: Session, method: str, *params: Any) -> None:
        self.result: Any = None
        self.error: Exception | None = None
        self.done = trio.Event()
        nursery.start_soon(self._ask, session, method, params)

    async def _ask(self, session: Session, method: str, params: tuple[Any, ...]) -> None:
        try:
            self.result = await session.request(method, *params)
        except (PeriodicError, ConnectionLost) as error:
            self.error = error
        self.done.set()


async def test_answers_in_any_order_find_their_requests(link: Link, nursery: trio.Nursery) -> None:
    session, peer = link
    asked = {f"m{i}": Asked(nursery, session, f"m{i}", i) for i in range(3)}
    requests = [await peer.receive() for _ in range(3)]
    for request in reversed(requests):
        assert isinstance(request, Request)
        assert request.params == [int(request.method[1:])]
        await peer.answer(request, f"answer to {request.method}")
    for method, each in asked.items():
        await each.done.wait()
        assert each.result == f"answer to {method}"


async def test_all_that_was_queued_goes_out_in_one_piece(link: Link) -> None:
    session, peer = link
    await wait_all_tasks_blocked()
    for _ in range(100):
        session.call("ping", (), lambda _error, _result: None)
    data = await peer.stream.receive_some(65536)
    assert bytes(data) == b"".join(encode_request(msgid, "ping", ()) for msgid in range(100))


@pytest.mark.parametrize(
    ("text", "kind", "details"),
    [
        ("INVALID: job.name is empty", Invalid, {}),
        ("INVALID path=jobs[3].retry.limit: jobs[3].retry.limit is -1", Invalid, {"path": "jobs[3].retry.limit"}),
        ("BUSY retry_after_ms=500 load=1.5: many pages", Busy, {"retry_after_ms": "500", "load": "1.5"}),
        ("INVALID message=a self=b: any word may be a key", Invalid, {"message": "a", "self": "b"}),
        ("NEW: x", UnknownError, {}),
        ("NEW detail=1: x", UnknownError, {}),
    ],
)
async def test_errors_become_exceptions(
    link: Link, nursery: trio.Nursery, text: str, kind: type[PeriodicError], details: dict[str, str]
) -> None:
    session, peer = link
    asked = Asked(nursery, session, "submit")
    await peer.refuse(await peer.expect("submit"), text)
    await asked.done.wait()
    assert type(asked.error) is kind
    assert asked.error.details == details
    assert asked.error.to_wire() == text


async def test_an_error_that_is_not_utf_8_is_still_an_error(link: Link, nursery: trio.Nursery) -> None:
    session, peer = link
    asked = Asked(nursery, session, "submit")
    await peer.expect("submit")
    await peer.send(b"\x94\x01\x00\xaaINVALID: \xff\xc0")
    await asked.done.wait()
    assert type(asked.error) is Invalid
    assert str(asked.error) == "\ufffd"
    assert session.lost is None


async def test_an_answer_to_nothing_is_counted_and_harmless(link: Link, nursery: trio.Nursery) -> None:
    session, peer = link
    await peer.send(encode_response(99, "what?"))
    asked = Asked(nursery, session, "ping")
    await peer.serve("ping", {})
    await asked.done.wait()
    assert asked.result == {}
    assert session.stray_answers == 1


async def test_a_cancelled_request_keeps_its_number_until_it_is_answered(link: Link, nursery: trio.Nursery) -> None:
    session, peer = link
    with trio.CancelScope() as scope:
        nursery.start_soon(wait_all_tasks_blocked)
        scope.cancel()
        await session.request("slow")
    asked = Asked(nursery, session, "fast")
    first, second = await peer.expect("slow"), await peer.expect("fast")
    assert first.msgid != second.msgid
    await peer.answer(first, "late")
    await peer.answer(second, "right")
    await asked.done.wait()
    assert asked.result == "right"
    assert session.stray_answers == 0


async def test_numbers_begin_again_after_the_last_and_skip_those_in_use(link: Link) -> None:
    session, peer = link
    answers: list[Any] = []
    session.call("zero", (), lambda _, result: answers.append(result))
    zero = await peer.expect("zero")
    session._next_msgid = MSGID_MAX  # four billion requests later
    session.call("last", (), lambda _, result: answers.append(result))
    session.call("next", (), lambda _, result: answers.append(result))
    last, following = await peer.expect("last"), await peer.expect("next")
    assert (zero.msgid, last.msgid, following.msgid) == (0, MSGID_MAX, 1)
    session._next_msgid = MSGID_MAX
    session.call("again", (), lambda _, result: answers.append(result))
    assert (await peer.expect("again")).msgid == 2


async def test_what_the_daemon_asks_and_says_reaches_its_handlers(nursery: trio.Nursery) -> None:
    ours, theirs = memory_stream_pair()
    heard, peer = Heard(), Peer(theirs)
    session = Session(ours, heard.on_request, heard.on_notification)
    nursery.start_soon(session.run)
    await peer.send(encode_notification("notice", ["h", "lost", ""]) + encode_request(5, "perform", [{}]))
    await wait_all_tasks_blocked()
    assert heard.notifications == [Notification("notice", ["h", "lost", ""])]
    assert heard.requests == [Request(5, "perform", [{}])]
    session.respond(5, b"done")
    assert (await peer.expect_response()).result == b"done"
    await peer.send(encode_request(5, "perform", [{}]))
    await wait_all_tasks_blocked()
    assert session.lost is None, "its number was free again"
    await peer.send(encode_request(5, "perform", [{}]))
    await session.ended.wait()
    assert "number" in str(session.lost)


async def test_without_handlers_requests_are_refused_and_notifications_ignored(link: Link) -> None:
    _, peer = link
    await peer.send(encode_notification("notice", ["h", "lost", ""]) + encode_request(5, "perform", [{}]))
    response = await peer.expect_response()
    assert (response.msgid, response.result) == (5, None)
    assert str(response.error).startswith("UNKNOWN_METHOD: perform")


ENDS = {
    "not MessagePack": b"\xc1",
    "not a message": b"\x93\x01\x02\x03",
    "not UTF-8": b"\x93\x02\xa1\xff\x91\xa1\xff",
    "refused": b"\x94\x01\xc0\xafBAD_MESSAGE: oh\xc0",
}


@pytest.mark.parametrize("data", ENDS.values(), ids=ENDS)
async def test_garbage_ends_the_connection_and_whatever_waits(link: Link, nursery: trio.Nursery, data: bytes) -> None:
    session, peer = link
    asked = [Asked(nursery, session, "submit") for _ in range(2)]
    for _ in asked:
        await peer.expect("submit")
    await peer.send(data)
    for each in asked:
        await each.done.wait()
        assert isinstance(each.error, ConnectionLost)
        assert "may or may not have happened" in str(each.error)
    assert await peer.receive() is None
    with pytest.raises(ConnectionLost, match="was not sent"):
        await session.request("submit")


async def test_why_the_daemon_closed_is_told(link: Link, nursery: trio.Nursery) -> None:
    session, peer = link
    asked = Asked(nursery, session, "submit")
    await peer.expect("submit")
    await peer.send(ENDS["refused"])
    await asked.done.wait()
    assert "BAD_MESSAGE: oh" in str(asked.error)


async def test_messages_before_the_garbage_count(link: Link, nursery: trio.Nursery) -> None:
    session, peer = link
    asked = Asked(nursery, session, "submit")
    request = await peer.expect("submit")
    await peer.send(encode_response(request.msgid, {"result": "created", "id": 1}) + b"\xc1")
    await asked.done.wait()
    assert asked.result == {"result": "created", "id": 1}
    await session.ended.wait()


ANSWER = encode_response(0, {"result": "created", "id": 1})


@pytest.mark.parametrize("cut", range(len(ANSWER) + 1))
async def test_cut_at_every_byte(link: Link, nursery: trio.Nursery, cut: int) -> None:
    session, peer = link
    asked = Asked(nursery, session, "submit")
    await peer.expect("submit")
    await peer.send(ANSWER[:cut])
    await peer.close()
    await asked.done.wait()
    if cut == len(ANSWER):
        assert asked.result == {"result": "created", "id": 1}
    else:
        assert isinstance(asked.error, ConnectionLost)
    await session.ended.wait()


async def test_an_answer_in_single_bytes(link: Link, nursery: trio.Nursery) -> None:
    session, peer = link
    asked = Asked(nursery, session, "submit")
    await peer.expect("submit")
    for byte in ANSWER:
        await peer.send(bytes([byte]))
        await wait_all_tasks_blocked()
    await asked.done.wait()
    assert asked.result == {"result": "created", "id": 1}


async def test_a_daemon_that_does_not_read_makes_requests_wait_and_not_memory_grow(nursery: trio.Nursery) -> None:
    ours, theirs = lockstep_stream_pair()
    session, peer = Session(ours), Peer(theirs)
    nursery.start_soon(session.run)
    quarter = bytes(OUTBOX_BYTES // 4)
    asked = [Asked(nursery, session, "submit", i, quarter) for i in range(40)]
    await wait_all_tasks_blocked()
    assert session.is_full
    assert len(session._pending) <= 2 * (4 + 2), "what is being written, and what waits to be"
    for _ in asked:
        request = await peer.expect("submit")
        await peer.answer(request, request.params[0])
    for each in asked:
        await each.done.wait()
    assert [each.result for each in asked] == list(range(40))


async def test_who_waits_for_room_learns_that_the_connection_is_lost(nursery: trio.Nursery) -> None:
    ours, theirs = lockstep_stream_pair()
    session = Session(ours)
    nursery.start_soon(session.run)
    asked = [Asked(nursery, session, "submit", bytes(OUTBOX_BYTES)) for _ in range(5)]
    await wait_all_tasks_blocked()
    await theirs.aclose()
    for each in asked:
        await each.done.wait()
        assert isinstance(each.error, ConnectionLost)


@pytest.mark.parametrize("params", [(object(),), (2**64,), ("\udcff",)])
async def test_what_cannot_be_packed_is_refused_here_and_harms_nobody(
    link: Link, nursery: trio.Nursery, params: tuple[Any, ...]
) -> None:
    session, peer = link
    with pytest.raises(Invalid, match="cannot be sent"):
        await session.request("submit", *params)
    asked = Asked(nursery, session, "ping")
    await peer.serve("ping", {})
    await asked.done.wait()
    assert asked.result == {}


async def test_what_is_too_large_is_refused_here(link: Link) -> None:
    session, _ = link
    session.message_bytes_max = 100
    with pytest.raises(TooLarge, match="100 bytes"):
        await session.request("submit", bytes(100))
    assert session.lost is None


async def test_cancelling_run_closes_the_stream_and_tells_who_waits(nursery: trio.Nursery) -> None:
    ours, theirs = memory_stream_pair()
    session, peer = Session(ours), Peer(theirs)
    async with trio.open_nursery() as running:
        running.start_soon(session.run)
        asked = Asked(nursery, session, "submit")
        await peer.expect("submit")
        running.cancel_scope.cancel()
    await asked.done.wait()
    assert isinstance(asked.error, ConnectionLost)
    assert await peer.receive() is None


@pytest.mark.parametrize("url", ["tcp://127.0.0.1:{port}", "unix://{path}"])
async def test_no_other_program_inherits_a_connection(nursery: trio.Nursery, tmp_path: Path, url: str) -> None:
    """A socket that lives on in a child says to the daemon that a killed worker is still there."""
    if url.startswith("tcp"):
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        url = url.format(port=listener.socket.getsockname()[1])
    else:
        url = url.format(path=tmp_path / "socket")
        sock = trio.socket.socket(trio.socket.AF_UNIX)
        await sock.bind(str(tmp_path / "socket"))
        sock.listen()
        listener = trio.SocketListener(sock)
    stream = await open_stream(url)
    assert isinstance(stream, trio.SocketStream)
    fd = stream.socket.fileno()
    assert not os.get_inheritable(fd), "after exec"
    child = os.fork()
    if not child:
        try:
            os.fstat(fd)
        except OSError:
            os._exit(0)
        os._exit(1)
    _, status = await trio.to_thread.run_sync(os.waitpid, child, 0)
    assert os.waitstatus_to_exitcode(status) == 0, "after fork"
    accepted = await listener.accept()
    await stream.send_all(b"still open here")
    assert await accepted.receive_some() == b"still open here"
    await accepted.aclose()
    await stream.aclose()
    await listener.aclose()
