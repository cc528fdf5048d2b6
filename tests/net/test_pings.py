"""Which pings wait for no step: those with nothing before them, while steps take long."""

from typing import Any

from periodic_client.wire import Request, Response
from periodicd.clock import Now
from periodicd.net.pace import QUICK_US, Pace
from periodicd.net.pings import Pings, Steps
from periodicd.scheduler.peers import OUTBOX_HIGH_BYTES, ByteBudget, Peer


def on_a_disk(*, slow: bool) -> tuple[Peer, Steps, Pings]:
    pace = Pace()
    if slow:
        pace.note(100 * QUICK_US, on_loop=True)
    peer, steps = Peer(1, Now(0, 0), ByteBudget(1_000_000)), Steps(pace)
    return peer, steps, Pings(steps, peer)


def ping(msgid: int = 7, *params: Any) -> Request:
    return Request(msgid, "ping", list(params))


def test_with_a_quick_disk_the_next_step_answers() -> None:
    _, _, pings = on_a_disk(slow=False)
    assert pings.answer(ping()) is None


def test_after_a_slow_commit_a_ping_that_comes_between_two_steps_does_not_wait_for_the_next() -> None:
    _, _, pings = on_a_disk(slow=True)
    assert pings.answer(ping()) == Response(7, None, {})
    assert pings.answer(ping(7)) == Response(7, None, {}), "nor does one answer keep the next ping waiting"


def test_what_came_before_is_waited_for_until_its_step_is_over() -> None:
    _, steps, pings = on_a_disk(slow=True)
    steps.begun = 1
    assert pings.answer(Response(1, None, None)) is None
    steps.over = 1
    assert pings.answer(ping()) is None, "the response came too late for the first step"
    steps.begun = 2
    steps.over = 2
    assert pings.answer(ping()) == Response(7, None, {})


def test_what_a_step_puts_off_is_waited_for_until_the_step_that_hears_it_is_over() -> None:
    peer, steps, pings = on_a_disk(slow=True)
    response = Response(1, None, None)
    assert pings.answer(response) is None
    steps.begun = 1
    peer.deferred.append(response)
    steps.over = 1
    assert pings.step_done()
    assert not pings.step_done(), "once is enough"
    steps.begun = 2
    peer.deferred.clear()
    assert pings.answer(ping()) is None, "the second step has heard it, and its commit is not made"


def test_the_engine_refuses_what_is_wrong_with_a_ping() -> None:
    peer, _, pings = on_a_disk(slow=True)
    peer.waiting.add(7)
    assert pings.answer(ping(7)) is None
    _, _, pings = on_a_disk(slow=True)
    assert pings.answer(ping(7, 1)) is None


def test_a_peer_that_does_not_read_gets_no_more_to_read() -> None:
    peer, _, pings = on_a_disk(slow=True)
    peer.note_outbox(OUTBOX_HIGH_BYTES)
    assert pings.answer(ping()) is None
