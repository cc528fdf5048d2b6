"""What clients say of the order among jobs: settings of functions and locks, groups, schedules. As steering.py."""

from periodic_client.wire import Full
from periodicd.function import Function
from periodicd.lock import Lock
from periodicd.names import page_of
from periodicd.protocol import answers, order, order_answers, requests
from periodicd.scheduler.broadcasts import Broadcasts
from periodicd.scheduler.dispatch import Dispatch
from periodicd.scheduler.event_ring import EventRing
from periodicd.scheduler.functions import Functions
from periodicd.scheduler.jobs import Jobs
from periodicd.scheduler.lock_pages import LockPages
from periodicd.scheduler.locks import Locks
from periodicd.scheduler.peers import Peer
from periodicd.scheduler.schedules import Schedules
from periodicd.scheduler.step import Step
from periodicd.store import ops
from periodicd.store.order import PutGroupResult


class Ordering:
    def __init__(
        self,
        step: Step,
        dispatch: Dispatch,
        broadcasts: Broadcasts,
        jobs: Jobs,
        ring: EventRing,
        functions: Functions,
        locks: Locks,
        lock_pages: LockPages,
        schedules: Schedules,
    ) -> None:
        self._step = step
        self._dispatch = dispatch
        self._broadcasts = broadcasts
        self._jobs = jobs
        self._ring = ring
        self._functions = functions
        self._locks = locks
        self._lock_pages = lock_pages
        self._schedules = schedules

    def set_function(self, peer: Peer, msgid: int, func: str, function: Function) -> None:
        self._functions.set(func, function)
        self._function_changed(peer, msgid, func, "function_set")

    def pause(self, peer: Peer, msgid: int, func: str) -> None:
        self._functions.pause(func, True)
        self._function_changed(peer, msgid, func, "paused")

    def resume(self, peer: Peer, msgid: int, func: str) -> None:
        self._functions.pause(func, False)
        self._function_changed(peer, msgid, func, "resumed")

    def set_lock(self, peer: Peer, msgid: int, name: str, lock: Lock) -> None:
        self._locks.set(name, lock)
        self._step.reply(peer, msgid)

    def locks_page(self, peer: Peer, msgid: int, query: requests.NamesQuery) -> None:
        self._lock_pages.ask(peer, msgid, query)

    def _function_changed(self, peer: Peer, msgid: int, func: str, how: str) -> None:
        self._dispatch.look_at(func)
        self._broadcasts.look()
        self._ring.note(how, func)
        self._step.reply(peer, msgid)

    def set_schedule(self, peer: Peer, msgid: int, said: order.SetSchedule) -> None:
        result, next_at_ms = self._schedules.set(said)
        answer: order_answers.SetScheduleAnswer = {"result": result, "next_at_ms": next_at_ms}
        self._step.reply(peer, msgid, answer)

    def remove_schedule(self, peer: Peer, msgid: int, name: str) -> None:
        self._reply(peer, msgid, "removed" if self._schedules.remove(name) else "absent")

    def pause_schedule(self, peer: Peer, msgid: int, name: str) -> None:
        self._reply(peer, msgid, "paused" if self._schedules.pause(name, True) else "absent")

    def resume_schedule(self, peer: Peer, msgid: int, name: str) -> None:
        self._reply(peer, msgid, "resumed" if self._schedules.pause(name, False) else "absent")

    def _reply(self, peer: Peer, msgid: int, result: str) -> None:
        answer: answers.ResultAnswer = {"result": result}
        self._step.reply(peer, msgid, answer)

    def run_schedule(self, peer: Peer, msgid: int, name: str) -> None:
        def on_fired(put: ops.PutResult | None) -> None:
            is_put = put is not None and put.result in ("created", "replaced")
            result: order_answers.RunScheduleAnswer = {
                "result": "fired" if is_put else "left_out",
                "id": put.id if put is not None and is_put else None,
            }
            self._step.reply(peer, msgid, result)

        if name in self._schedules.known:
            self._schedules.run(name, on_fired)
        else:
            absent: order_answers.RunScheduleAnswer = {"result": "absent", "id": None}
            self._step.reply(peer, msgid, absent)

    def next_times(self, peer: Peer, msgid: int, name: str, count: int) -> None:
        known = name in self._schedules.known
        answer: order_answers.NextTimesAnswer = {
            "result": "found" if known else "absent",
            "times": self._schedules.next_times(name, count) if known else [],
        }
        self._step.reply(peer, msgid, answer)

    def list_schedules(self, peer: Peer, msgid: int, query: requests.NamesQuery) -> None:
        names, after = page_of(self._schedules.known, *query)
        known, next_at_ms = self._schedules.known, self._schedules.next_at_ms
        shown = [order_answers.scheduled(name, known[name], next_at_ms(name)) for name in names]
        answer: order_answers.ListSchedulesAnswer = {"schedules": shown, "next": after}
        self._step.reply(peer, msgid, answer)

    def submit_group(self, peer: Peer, msgid: int, group: order.Group) -> None:
        def on_put(result: PutGroupResult) -> None:
            if result.result == "full":
                text = "a function of the group would have more jobs than its queue_max allows; try later"
                self._step.refuse(peer, msgid, Full(text))
                return
            answer: order_answers.SubmitGroupAnswer = {
                "result": result.result,
                "id": result.id,
                "results": [put.result for put in result.jobs],
                "ids": [put.id or None for put in result.jobs],
            }
            self._step.reply(peer, msgid, answer)

        self._jobs.put_group(group, on_put)
