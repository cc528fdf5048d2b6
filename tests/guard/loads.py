"""What the guard counts: fixed loads in exchanges, so that each is the same steps and the same commits every time.

A load says something and waits for all that it causes before it says more; nothing of it hangs on who is quicker. It
runs in this process on the engine (inside.py) and over a socket on the real daemon (outside.py).
"""

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any, NamedTuple, Protocol

from periodic_client.wire import Message, Request, encode_request, encode_response

WORKLOAD = b"x" * 100
HOUR_MS = 3_600_000
WARM_UP = 20
"""Jobs before the counting begins: what is done once is no cost of a job."""
LONE = 100
BATCH = 300
BATCHES = 14
"""Enough for a checkpoint."""
WAITING = 5
"""Batches that wait for the worker."""
TOGETHER = 100
ROUNDS = 15


class Link(Protocol):
    def talk(self, said: bytes, answers: int) -> list[Message]:
        """Say it, and hear so many messages."""


class Load(NamedTuple):
    name: str
    prepare: Callable[[Link], None]
    """Not counted."""
    run: Callable[[Link], int]
    """Returns how many jobs that were."""


_number = count(1)


def _request(method: str, *params: Any) -> bytes:
    return encode_request(next(_number), method, params)


def _job(func: str, **more: Any) -> dict[str, Any]:
    return {"func": func, "name": f"{next(_number):08}", "workload": WORKLOAD, **more}


def _performs(heard: Sequence[Message]) -> list[Request]:
    return [message for message in heard if isinstance(message, Request)]


def _lone(link: Link, number: int) -> int:
    for _ in range(number):
        link.talk(_request("submit", _job("later", delay_ms=HOUR_MS)), 1)
    return number


def _batches(link: Link, func: str, number: int, **more: Any) -> int:
    for _ in range(number):
        link.talk(_request("submit_batch", [_job(func, **more) for _ in range(BATCH)]), 1)
    return number * BATCH


def _subscribe(link: Link) -> None:
    link.talk(_request("subscribe", "now", {"limit": TOGETHER}), 1)


def _single(link: Link, number: int) -> int:
    """From submit to the answered end, one after the other."""
    for _ in range(number):
        (run,) = _performs(link.talk(_request("submit", _job("now")), 2))
        link.talk(_request("finish", run.params[0]["handle"], None) + encode_response(run.msgid, None), 1)
    return number


def _rounds(link: Link, number: int) -> int:
    """Single submits, many in a write, with the ends of those before."""
    ends = b""
    for _ in range(number):
        submits = b"".join(_request("submit", _job("now")) for _ in range(TOGETHER))
        runs = _performs(link.talk(ends + submits, 2 * TOGETHER))
        ends = b"".join(encode_response(run.msgid, None) for run in runs)
    link.talk(ends + _request("ping"), 1)
    return number * TOGETHER


def _drain(link: Link) -> int:
    """All that waits, as many at a time as the worker takes."""
    heard = link.talk(_request("subscribe", "now", {"limit": TOGETHER}), 1 + TOGETHER)
    jobs = BATCH * WAITING
    for left in range(jobs - TOGETHER, -1, -TOGETHER):
        ends = b"".join(encode_response(run.msgid, None) for run in _performs(heard))
        heard = link.talk(ends if left else ends + _request("ping"), TOGETHER if left else 1)
    return jobs


def _prepare_through(link: Link) -> None:
    _subscribe(link)
    _single(link, WARM_UP)


def _warm_up(link: Link) -> None:
    _lone(link, WARM_UP)


def _prepare_drain(link: Link) -> None:
    _batches(link, "now", WAITING)


LOADS = (
    Load("lone_submit", _warm_up, lambda link: _lone(link, LONE)),
    Load(
        "batch_submit",
        _warm_up,
        lambda link: _batches(link, "later", BATCHES, delay_ms=HOUR_MS),
    ),
    Load("end_to_end_single", _prepare_through, lambda link: _single(link, LONE)),
    Load("end_to_end_batch", _prepare_through, lambda link: _rounds(link, ROUNDS)),
    Load("drain", _prepare_drain, _drain),
)
