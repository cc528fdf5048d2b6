"""A light load of all kinds, for hours: what a daemon's peers do in a day. Steady, so that what grows is the daemon's.

Names come from a limited set, so the backlog has an end: what is submitted again replaces, is kept, or waits behind a
run, as it falls. Jobs are due now or within a minute, done, failed and tried again, put off, submitted by the end of
others, dead and removed or requeued; jobs are listed, looked at and removed; connections and workers come and go.
"""

import random
import time
from collections.abc import Awaitable, Callable

import trio

from periodic_client import Client, Done, Job, Later, NewJob, Outcome, Retry, Worker
from periodic_client.outcomes import Existing, Failed

FUNC = "soak"
NAMES = 4000
DELAY_MS_MAX = 60_000
BATCH = 20
RETRY = Retry(limit=3, backoff="fixed", delay_ms=500)
SIZES = (*[100] * 60, *[2_000] * 30, *[20_000] * 9, 500_000)
"""Of workloads, by their share: in the row, in a row nearly full, apart, and large."""
EXISTING: tuple[Existing, ...] = ("replace", "replace", "keep", "keep_live", "refuse")
WORKER_S = 30.0
"""So long lives a worker before another takes its place."""


class Mixed:
    """``acts_s``: how many things are done in a second, of which half are submits of one job."""

    def __init__(self, url: str, acts_s: float, seed: int) -> None:
        self._url = url
        self._pause_s = 1 / acts_s
        self._rng = random.Random(seed)
        self.late_ms: list[float] = []
        """How late each run began. Whoever looks at it empties it."""
        self.runs = 0

    async def run(self) -> None:
        """Until cancelled."""
        async with Client(self._url) as client, trio.open_nursery() as nursery:
            nursery.start_soon(self._workers, 0.0)
            nursery.start_soon(self._workers, WORKER_S / 2)
            begin, done = trio.current_time(), 0
            kinds, weights = zip(*ACTS, strict=True)
            while True:
                (act,) = self._rng.choices(kinds, weights)
                await act(self, client)
                done += 1
                await trio.sleep_until(begin + done * self._pause_s)

    # -- the worker's side ---------------------------------------------------------------------------------------------

    async def _workers(self, first_s: float) -> None:
        """One after the other. Two of these out of step, so that there is always a worker."""
        await trio.sleep(first_s)
        while True:
            worker = Worker(self._url)
            worker.function(FUNC, limit=20)(self._perform)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(worker.run)
                await trio.sleep(WORKER_S)
                worker.stop()

    async def _perform(self, job: Job) -> Outcome:
        self.late_ms.append(time.time() * 1000 - job.due_at_ms)
        self.runs += 1
        dice = self._rng.random()
        if dice < 0.5:
            return None
        await trio.sleep(self._rng.random() / 10)
        if dice < 0.80:
            return Done(b"x" * 100)
        if dice < 0.84:
            return Done(submit=[self._job()])
        if dice < 0.94:
            return Failed("as it happens")
        return Later(self._rng.randrange(2_000)) if dice < 0.98 else Failed("for good", final=True)

    # -- the client's side ---------------------------------------------------------------------------------------------

    def _job(self, most_ms: int = DELAY_MS_MAX) -> NewJob:
        rng = self._rng
        return NewJob(
            FUNC,
            f"{rng.randrange(NAMES)}",
            bytes(rng.choice(SIZES)),
            delay_ms=rng.randrange(most_ms) if most_ms else None,
            priority=rng.choice((0, 0, 0, 5)),
            existing=rng.choice(EXISTING),
            retry=RETRY,
        )

    async def submit_now(self, client: Client) -> None:
        await client.submit(self._job(0))

    async def submit_later(self, client: Client) -> None:
        await client.submit(self._job())

    async def submit_batch(self, client: Client) -> None:
        await client.submit_batch([self._job() for _ in range(BATCH)])

    async def look(self, client: Client) -> None:
        await client.get(FUNC, f"{self._rng.randrange(NAMES)}", workload=True)

    async def remove(self, client: Client) -> None:
        await client.remove(FUNC, f"{self._rng.randrange(NAMES)}")

    async def list_some(self, client: Client) -> None:
        await client.list_page(FUNC, self._rng.choice(("waiting", "running", "behind", "dead")))
        await client.status()

    async def bring_back_the_dead(self, client: Client) -> None:
        dead, _ = await client.list_page(FUNC, "dead")
        for job in dead[:20]:
            what = client.requeue if self._rng.random() < 0.5 else client.remove
            await what(FUNC, job["name"], id=job["id"])

    async def come_and_go(self, client: Client) -> None:
        async with Client(self._url) as another:
            await another.ping()


Act = Callable[[Mixed, Client], Awaitable[None]]
ACTS: tuple[tuple[Act, int], ...] = (
    (Mixed.submit_now, 30),
    (Mixed.submit_later, 20),
    (Mixed.submit_batch, 2),
    (Mixed.look, 10),
    (Mixed.remove, 10),
    (Mixed.list_some, 10),
    (Mixed.bring_back_the_dead, 4),
    (Mixed.come_and_go, 4),
)
