"""What clients say of the order among jobs: settings of functions and locks, groups. As steering.py."""

from periodic_client.wire import Full
from periodicd.function import Function
from periodicd.lock import Lock
from periodicd.protocol import answers, requests
from periodicd.scheduler.dispatch import Dispatch
from periodicd.scheduler.event_ring import EventRing
from periodicd.scheduler.functions import Functions
from periodicd.scheduler.jobs import Jobs
from periodicd.scheduler.lock_pages import LockPages
from periodicd.scheduler.locks import Locks
from periodicd.scheduler.peers import Peer
from periodicd.scheduler.step import Step
from periodicd.store import order


class Ordering:
    def __init__(
        self,
        step: Step,
        dispatch: Dispatch,
        jobs: Jobs,
        ring: EventRing,
        functions: Functions,
        locks: Locks,
        lock_pages: LockPages,
    ) -> None:
        self._step = step
        self._dispatch = dispatch
        self._jobs = jobs
        self._ring = ring
        self._functions = functions
        self._locks = locks
        self._lock_pages = lock_pages

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

    def locks_page(self, peer: Peer, msgid: int, query: requests.FunctionsQuery) -> None:
        self._lock_pages.ask(peer, msgid, query)

    def _function_changed(self, peer: Peer, msgid: int, func: str, how: str) -> None:
        self._dispatch.look_at(func)
        self._ring.note(how, func)
        self._step.reply(peer, msgid)

    def submit_group(self, peer: Peer, msgid: int, group: requests.Group) -> None:
        def on_put(result: order.PutGroupResult) -> None:
            if result.result == "full":
                text = "a function of the group would have more jobs than its queue_max allows; try later"
                self._step.refuse(peer, msgid, Full(text))
                return
            answer: answers.SubmitGroupAnswer = {
                "result": result.result,
                "id": result.id,
                "results": [put.result for put in result.jobs],
                "ids": [put.id or None for put in result.jobs],
            }
            self._step.reply(peer, msgid, answer)

        self._jobs.put_group(group, on_put)
