"""What ended is gone at once: the core makes no cycles, so nothing waits for a garbage collector, which looks seldom.

A peer in a cycle holds its messages, a take its jobs: megabytes each, for as many connections as come until then.
"""

import gc
from collections.abc import Callable, Iterator
from itertools import count

import pytest

from periodic_client.wire import Request
from periodicd.engine import Detached, drive, start
from periodicd.store.memory import MemoryStore
from tests.core.script import START

Ask = Callable[..., None]
"""A method and its params."""


@pytest.fixture
def cycles() -> Iterator[Callable[[], list[str]]]:
    """What there was of the daemon's objects that only a collector could free; none collects meanwhile."""
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)

    def found() -> list[str]:
        gc.collect()
        return sorted({type(each).__name__ for each in gc.garbage if type(each).__module__.startswith("periodicd.")})

    yield found
    gc.set_debug(0)
    gc.garbage.clear()
    gc.enable()


def _subscribed(ask: Ask) -> None:
    ask("subscribe", "f", {"limit": 2})
    ask("submit", {"func": "f", "name": "a"})
    ask("submit", {"func": "f", "name": "b"})


def _left(ask: Ask) -> None:
    _subscribed(ask)
    ask("unsubscribe_all")


def _taken(ask: Ask) -> None:
    ask("submit", {"func": "f", "name": "a"})
    ask("take", {"funcs": ["f", "g"]})


def _waiting(ask: Ask) -> None:
    ask("take", {"funcs": ["f"]})
    ask("submit", {"func": "g", "name": "a"})
    ask("watch", "g", "a")
    ask("events", {"timeout_ms": 0})
    ask("events", {"after": "e1-0"})


def _refused(ask: Ask) -> None:
    ask("submit", {"func": "f"})
    ask("no_such_method")
    ask("finish", "1-1-1-0", None)


@pytest.mark.parametrize("acts", [_subscribed, _left, _taken, _waiting, _refused])
def test_a_connection_is_gone_when_it_is_gone(acts: Callable[[Ask], None], cycles: Callable[[], list[str]]) -> None:
    store = MemoryStore()
    engine = start(store, START, bytes)

    def play() -> None:
        peer, msgids = engine.attach(START), count(1)

        def ask(method: str, *params: object) -> None:
            engine.receive(peer, Request(next(msgids), method, list(params)))
            drive(engine.step(START), store)

        acts(ask)
        engine.tell(peer, Detached())
        drive(engine.step(START), store)

    play()
    assert cycles() == []
