"""Reports: how many are kept, and when all are known to have arrived."""

import pytest
import trio
from trio.testing import memory_stream_pair, wait_all_tasks_blocked

from periodic_client.reports import CONFIRM_REPORTS, Report, Reports
from periodic_client.session import Session
from tests.client.peer import Peer


@pytest.fixture
async def link(nursery: trio.Nursery) -> tuple[Session, Peer]:
    ours, theirs = memory_stream_pair()
    session = Session(ours)
    nursery.start_soon(session.run)
    return session, Peer(theirs)


def report(number: int) -> Report:
    return Report(str(number), "f", "n", None)


async def test_what_is_kept_is_what_no_ping_has_shown(link: tuple[Session, Peer]) -> None:
    session, peer = link
    reports = Reports()
    for number in range(CONFIRM_REPORTS + 3):
        reports.respond(session, number, report(number))
    for _ in range(CONFIRM_REPORTS):
        await peer.expect_response()
    ping = await peer.expect("ping")
    assert len(reports) == CONFIRM_REPORTS + 3
    await peer.answer(ping, {})
    await wait_all_tasks_blocked()
    assert len(reports) == 3
    assert reports.forget("0") is None
    assert reports.forget(str(CONFIRM_REPORTS)) is not None


async def test_settle_returns_when_the_last_is_shown(link: tuple[Session, Peer], nursery: trio.Nursery) -> None:
    session, _ = link
    reports = Reports()
    await reports.settle()
    settled = trio.Event()

    async def settle() -> None:
        await reports.settle()
        settled.set()

    reports.respond(session, 1, report(1))
    mark = reports.mark()
    reports.respond(session, 2, report(2))
    nursery.start_soon(settle)
    await wait_all_tasks_blocked()
    reports.confirm(mark)
    await wait_all_tasks_blocked()
    assert not settled.is_set()
    reports.confirm(reports.mark())
    await settled.wait()


async def test_an_old_mark_confirms_nothing_new(link: tuple[Session, Peer]) -> None:
    session, _ = link
    reports = Reports()
    reports.respond(session, 1, report(1))
    mark = reports.mark()
    reports.connection_lost()
    reports.respond(session, 2, report(2))
    reports.confirm(mark)
    assert len(reports) == 2
    assert reports.forget("2") is not None


async def test_what_the_daemon_spoke_of_is_not_sent_again(link: tuple[Session, Peer], nursery: trio.Nursery) -> None:
    session, peer = link
    reports = Reports()
    for number in range(3):
        reports.respond(session, number, report(number))
        await peer.expect_response()
    mark = reports.mark()
    reports.respond(session, 3, report(3))
    await peer.expect_response()
    assert reports.forget("1") == report(1)
    assert reports.forget("1") is None
    reports.confirm(mark)
    assert len(reports) == 1, "the mark still speaks of the first three only"
    reports.respond(session, 4, report(4))
    await peer.expect_response()
    assert reports.forget("3") is not None
    reports.connection_lost()
    nursery.start_soon(reports.deliver, session)
    await peer.serve("finish", {}, "4", None)
    await reports.settle()


async def test_what_was_forgotten_is_not_waited_for(link: tuple[Session, Peer], nursery: trio.Nursery) -> None:
    session, _ = link
    reports = Reports()
    reports.respond(session, 1, report(1))
    nursery.start_soon(reports.settle)
    await wait_all_tasks_blocked()
    reports.forget("1")
