"""What the daemon answers, in protocol.md's order: one line for each method, from its params to its rule.

The only place where a name on the wire meets what checks its params and what acts on them. tests/test_protocol_md.py
compares the table with the page's.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVarTuple

from periodicd.protocol import fields, order, order_fields, requests
from periodicd.protocol.requests import Rules
from periodicd.protocol.words import take
from periodicd.scheduler import Scheduler
from periodicd.scheduler.ordering import Ordering
from periodicd.scheduler.peers import Peer

Ts = TypeVarTuple("Ts")
SentBy = Literal["anyone", "client", "worker"]
State = Literal["stable", "growing"]


@dataclass(frozen=True, slots=True)
class Method(Generic[*Ts]):
    check: Callable[[list[Any], Rules], tuple[*Ts]]
    """The params as values. Raises Invalid."""
    rule: Callable[[Scheduler, Peer, int, *Ts], None]
    """Acts, and sees to it that the request is answered once."""
    sent_by: SentBy = "client"
    state: State = "stable"
    """Whether more of it is expected soon."""
    is_large: bool = False
    """Whether its answer may be of any size."""


AnyMethod = Method[*tuple[Any, ...]]


def _nothing(params: list[Any], _rules: Rules) -> tuple[()]:
    """No params. It stands here and not with its like: what mypyc makes of a function that returns an empty tuple
    returns one where it should raise.
    """
    take(params, fields.Nothing)
    return ()


def _of_order(rule: Callable[[Ordering, Peer, int, *Ts], None]) -> Callable[[Scheduler, Peer, int, *Ts], None]:
    """The rule of a part, as one of the face."""

    def of_order(scheduler: Scheduler, peer: Peer, msgid: int, *said: *Ts) -> None:
        rule(scheduler.ordering, peer, msgid, *said)

    return of_order


METHODS: dict[str, AnyMethod] = {
    "hello": Method(requests.hello, Scheduler.hello, "anyone"),
    "ping": Method(_nothing, Scheduler.ping, "anyone"),
    "submit": Method(requests.submit, Scheduler.submit),
    "submit_batch": Method(requests.submit_batch, Scheduler.submit_batch),
    "remove": Method(requests.remove, Scheduler.remove),
    "requeue": Method(requests.requeue, Scheduler.requeue),
    "cancel": Method(requests.cancel, Scheduler.cancel),
    "move": Method(requests.move, Scheduler.move),
    "end_run": Method(requests.end_run, Scheduler.end_run),
    "get": Method(requests.get, Scheduler.get, state="growing", is_large=True),
    "explain": Method(requests.explain, Scheduler.explain_job, state="growing"),
    "watch": Method(requests.watch, Scheduler.watch),
    "unwait": Method(requests.unwait, Scheduler.unwait, "anyone"),
    "list": Method(requests.list_, Scheduler.list, state="growing", is_large=True),
    "events": Method(requests.events, Scheduler.events),
    "workers": Method(requests.workers, Scheduler.workers, is_large=True),
    "status": Method(requests.status, Scheduler.status, state="growing", is_large=True),
    "set_function": Method(order.set_function, _of_order(Ordering.set_function)),
    "pause": Method(order.pause, _of_order(Ordering.pause)),
    "resume": Method(order.resume, _of_order(Ordering.resume)),
    "set_lock": Method(order.set_lock, _of_order(Ordering.set_lock)),
    "locks": Method(order.locks, _of_order(Ordering.locks_page), is_large=True),
    "submit_group": Method(order.submit_group, _of_order(Ordering.submit_group)),
    "set_schedule": Method(order.set_schedule, _of_order(Ordering.set_schedule)),
    "remove_schedule": Method(order.of_schedule(order_fields.RemoveSchedule), _of_order(Ordering.remove_schedule)),
    "pause_schedule": Method(order.of_schedule(order_fields.PauseSchedule), _of_order(Ordering.pause_schedule)),
    "resume_schedule": Method(order.of_schedule(order_fields.ResumeSchedule), _of_order(Ordering.resume_schedule)),
    "run_schedule": Method(order.of_schedule(order_fields.RunSchedule), _of_order(Ordering.run_schedule)),
    "next_times": Method(order.next_times, _of_order(Ordering.next_times)),
    "list_schedules": Method(order.list_schedules, _of_order(Ordering.list_schedules), is_large=True),
    "remove_matching": Method(requests.remove_matching, Scheduler.remove_matching),
    "requeue_matching": Method(requests.requeue_matching, Scheduler.requeue_matching),
    "cancel_matching": Method(requests.cancel_matching, Scheduler.cancel_matching),
    "move_matching": Method(requests.move_matching, Scheduler.move_matching),
    "shutdown": Method(_nothing, Scheduler.shutdown),
    "subscribe": Method(requests.subscribe, Scheduler.subscribe, "worker"),
    "unsubscribe": Method(requests.unsubscribe, Scheduler.unsubscribe, "worker"),
    "unsubscribe_all": Method(_nothing, Scheduler.unsubscribe_all, "worker"),
    "take": Method(requests.take_jobs, Scheduler.take, "worker"),
    "finish": Method(requests.finish, Scheduler.finish, "worker"),
    "extend": Method(requests.extend, Scheduler.extend, "worker"),
    "data": Method(requests.data, Scheduler.data, "worker"),
    "progress": Method(requests.progress, Scheduler.progress, "worker"),
}
