"""Workers that ask for jobs by ``take`` and report by ``finish``, honest or dying between the answer and the work."""

from typing import Any

from periodic_client.wire.limits import MSGID_MAX
from periodicd.clock import Now
from tests.sim.actors import FUNCS, WAITS_MS, Acts, Worker


class Taker(Worker):
    owns = 0.1

    def ask_for_work(self) -> None:
        rng = self.rng
        options = {
            "funcs": rng.sample(FUNCS, rng.randrange(1, 4)),
            "max": rng.choice((None, 1, 3)),
            "wait_ms": rng.choice(WAITS_MS),
            # Not the job's own, which may be of a day: nothing else brings back what a taker loses.
            "lease_ms": rng.choice((1_000, 10_000, 60_000)),
        }
        self.ask("take", options)

    def act(self, now: Now) -> None:
        self.choose(TAKER_ACTS, now)
        self.work(now)
        if self.manners == "dying" and self.rng.random() < 0.1:
            self.wants_to_die = True

    def take(self, now: Now) -> None:
        self.ask_for_work()

    def extend(self, now: Now) -> None:
        """For as long as it was taken."""
        if self.runs:
            _, _, job = self.rng.choice(self.runs)
            self._extend(job)

    def unwait(self, now: Now) -> None:
        assert self.link is not None
        waiting = [msgid for msgid, asked in self.link.asked.items() if asked.method == "take"]
        self.ask("unwait", self.rng.choice(waiting) if waiting else MSGID_MAX)

    def answered(self, method: str, memo: Any, error: str | None, result: Any, now: Now) -> None:
        super().answered(method, memo, error, result, now)
        if method != "take" or error is not None or (self.manners == "dying" and self.rng.random() < 0.3):
            return
        for job in result["jobs"]:
            self.runs.append((now.mono_ms + self.rng.choice((0, 1, 20, 500)), None, job))


TAKER_ACTS: Acts = (
    (30, Taker.only_work),
    (20, Taker.take),
    (5, Taker.unwait),
    (5, Taker.extend),
    (5, Taker.data),
    (2, Taker.progress),
)
