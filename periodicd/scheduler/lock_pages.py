"""What ``locks`` tells: a page of locks, who holds them, how many stand in line. Looks, and changes nothing."""

from functools import partial
from itertools import islice

from periodicd.names import page_of
from periodicd.protocol import order_answers, requests
from periodicd.scheduler.in_progress import InProgress
from periodicd.scheduler.lock_uses import LockUses, Use
from periodicd.scheduler.peers import Peer
from periodicd.scheduler.step import Step
from periodicd.store import order

SHOWN_MAX = 10
"""Of the holders of a lock."""
COUNTED_MAX = 101
"""Of those in line for it: to count more would take time from others."""


class LockPages:
    def __init__(self, step: Step, uses: LockUses, running: InProgress) -> None:
        self._step = step
        self._uses = uses.by_name
        self._running = running

    def ask(self, peer: Peer, msgid: int, query: requests.NamesQuery) -> None:
        shown, after = page_of(self._uses, *query)
        lines = tuple(name for name in shown if self._uses[name].has_line)
        self._step.read(order.LineLengths(lines, COUNTED_MAX), partial(self._on_lengths, peer, msgid, shown, after))

    def _on_lengths(
        self, peer: Peer, msgid: int, shown: tuple[str, ...], after: str | None, lengths: dict[str, int]
    ) -> None:
        uses = self._uses
        answer: order_answers.LocksAnswer = {
            "locks": [self._lock(name, uses[name], lengths.get(name, 0)) for name in shown if name in uses],
            "next": after,
        }
        self._step.reply(peer, msgid, answer)

    def _lock(self, name: str, use: Use, parked: int) -> order_answers.LockAnswer:
        runs = (run for job_id in use.holders if (run := self._running.of_job(job_id)) is not None)
        rate = use.lock.rate
        return {
            "lock": name,
            "capacity": use.lock.capacity,
            "rate": None if rate is None else rate.as_map(),
            "used": use.used,
            "parked": parked,
            "holder_count": len(use.holders),
            "holders": [
                {
                    "func": run.job.func,
                    "name": run.job.name,
                    "id": run.job.id,
                    "run": run.number,
                    "weight": use.holders[run.job.id],
                    "started_at_ms": run.job.started_at_ms,
                }
                for run in islice(runs, SHOWN_MAX)
            ],
        }
