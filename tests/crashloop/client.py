"""A process that submits: ``python -m tests.crashloop.client URL FOLDER SEED``, until SIGTERM.

Each task goes its own way through one name after the other; one task replaces whole batches, which makes the WAL grow
to checkpoints; one submits crowds and removes, cancels or requeues them by requests on many; what becomes of schedules
is in schedules.py. A submit whose answer was
lost is not taken for anything: it is left, or the name is submitted again as a new version.
"""

import signal
import sys
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import trio

from periodic_client import CannotConnect, Client, ConnectionLost
from tests.crashloop import plan, schedules
from tests.crashloop.record import (
    BATCH_DUE_AT_MS,
    BATCH_FUNC,
    BATCH_JOBS,
    CROWD_JOBS,
    CROWD_STEP_MS,
    FAR_FUNC,
    FAR_MS,
    FUNC,
    LOCK_FUNC,
    LOCK_LEASE_MS,
    LOCKS,
    Acknowledged,
    Asked,
    BatchAcknowledged,
    BatchAsked,
    Called,
    CancelAsked,
    Cancelled,
    CrowdAcknowledged,
    CrowdAsked,
    GroupAsked,
    MatchingAnswered,
    MatchingAsked,
    RecordFile,
    RemoveAsked,
    Removed,
    SettingAcknowledged,
    SettingAsked,
    Told,
    lock_of,
    name_of_locked,
    name_of_member,
    now_ms,
)

TASKS = 6
BATCH_GROUPS = 2
MOVED_MS = 3000
"""Longer than any job of the load is delayed."""
MATCHING = {
    "remove_matching": Client.remove_matching,
    "cancel_matching": Client.cancel_matching,
    "requeue_matching": Client.requeue_matching,
}
LOCKED_EACH_S = 0.1
GROUP_EACH_S = 0.3
EXPIRING_EACH_S = 0.1
AGAIN_S = 0.02
"""How soon a lost daemon is asked again."""


class Load:
    def __init__(self, client: Client, folder: Path, seed: str) -> None:
        self._client = client
        self._seed = seed
        self._records = RecordFile(folder, "client")
        self.stop = trio.Event()

    @property
    def stopping(self) -> bool:
        return self.stop.is_set()

    async def one_name_after_the_other(self, task: int) -> None:
        rng = Random(f"{self._seed} {task}")
        number = 0
        while not self.stopping:
            number += 1
            await self._one_name(f"{self._seed}-{task}-{number}", rng)
            await trio.sleep(rng.expovariate(1 / 0.02))

    async def _one_name(self, name: str, rng: Random) -> None:
        func = FAR_FUNC if rng.random() < 0.1 else FUNC
        version = 1
        while not await self._submit(func, name, version, rng) or rng.random() < 0.25:
            if rng.random() < 0.3:
                break
            # Sometimes at once, sometimes when the run before is under way or over.
            await trio.sleep(rng.choice((0, 0.02, 0.3)))
            version += 1
        end = rng.random()
        if end < 0.1:
            await self._remove(func, name)
        elif end < 0.3:
            await self._cancel(func, name)
        elif end < 0.4:
            await self._move(func, name)

    async def locked(self) -> None:
        """Jobs that hold a lock, so many that there is a line most of the time."""
        rng = Random(f"{self._seed} locked")
        number = 0
        while not self.stopping:
            number += 1
            name = name_of_locked(self._seed, rng.randrange(LOCKS), number)
            version = 1
            while not await self._submit(LOCK_FUNC, name, version, rng, plan.LOCK_KINDS):
                version += 1
            await trio.sleep(rng.expovariate(1 / LOCKED_EACH_S))

    async def groups(self) -> None:
        rng = Random(f"{self._seed} groups")
        number = 0
        while not self.stopping:
            number += 1
            await self._group(f"{self._seed}-group-{number}", rng)
            await trio.sleep(rng.expovariate(1 / GROUP_EACH_S))

    async def _group(self, name: str, rng: Random) -> None:
        """At once, or in two parts, between which all members of the first may have ended."""
        kinds = [rng.choice(plan.MEMBER_KINDS) for _ in range(rng.randrange(6))]
        self._records.write(Asked(name, 1, 0))
        if rng.random() < 0.5:
            await self._put_members(name, kinds[:2], 0, sealed=False)
            await trio.sleep(rng.choice((0, 0.1, 0.5)))
            await self._put_members(name, kinds[2:], 2, sealed=True)
        else:
            await self._put_members(name, kinds, 0, sealed=True)
        self._records.write(Acknowledged(name, 1, "created"))

    async def _put_members(self, group: str, kinds: list[str], first: int, sealed: bool) -> None:
        """Whatever becomes of answers. Who is sent again is kept, or is none any more."""
        jobs = [plan.member(name_of_member(group, number), kind) for number, kind in enumerate(kinds, first)]
        self._records.write(GroupAsked(group, len(kinds), kinds.count("join"), kinds.count("dead")))
        for job in jobs:
            self._records.write(Asked(job["name"], 1, 0))
        while True:
            try:
                put = {"then": plan.group(group), "jobs": jobs, "sealed": sealed}
                await self._client.request("submit_group", put)
            except (ConnectionLost, CannotConnect):
                await trio.sleep(AGAIN_S)
            else:
                break
        for job in jobs:
            self._records.write(Acknowledged(job["name"], 1, "created"))

    async def _cancel(self, func: str, name: str) -> None:
        self._records.write(CancelAsked(name))
        while True:
            try:
                answer = await self._client.request("cancel", func, name)
            except (ConnectionLost, CannotConnect):
                await trio.sleep(AGAIN_S)
            else:
                self._records.write(Cancelled(name, answer["result"]))
                return

    async def _move(self, func: str, name: str) -> None:
        """To a later time, so that a run that begins before its first due time is early still. Answered or not."""
        with suppress(ConnectionLost, CannotConnect):
            await self._client.request("move", func, name, {"delay_ms": MOVED_MS, "priority": -1})

    async def calls(self) -> None:
        rng = Random(f"{self._seed} calls")
        number = 0
        while not self.stopping:
            number += 1
            await self._call(f"{self._seed}-call-{number}", rng)

    async def _call(self, name: str, rng: Random) -> None:
        """Submit and watch, again and again, until it is told how the job ended."""
        job = plan.call(name, rng)
        self._records.write(Called(name))
        while not self.stopping:
            self._records.write(Asked(name, 1, 0))
            try:
                submitted = await self._client.request("submit", job)
                if submitted["result"] != "kept":
                    self._records.write(Acknowledged(name, 1, submitted["result"]))
                told = await self._client.request("watch", FUNC, name, {"only_end": True, "timeout_ms": 1_000})
            except (ConnectionLost, CannotConnect):
                await trio.sleep(AGAIN_S)
                continue
            if told["ended"]:
                self._records.write(Told(name, told["ending"]))
                return

    async def _submit(
        self, func: str, name: str, version: int, rng: Random, kinds: tuple[str, ...] = plan.KINDS
    ) -> bool:
        """Whether it was answered."""
        job = plan.new_job(name, plan.workload(rng, version, kinds), rng) | {"func": func}
        if lock := lock_of(name):
            job |= {"locks": {lock: 1}, "lease_ms": LOCK_LEASE_MS}
        delay_ms = FAR_MS if func == FAR_FUNC else rng.choice((0, 0, rng.randrange(1, 300), rng.randrange(1, MOVED_MS)))
        not_before_at_ms = now_ms() + delay_ms
        job |= {"due_at_ms": not_before_at_ms} if rng.random() < 0.5 else {"delay_ms": delay_ms}
        if version > 1 and rng.random() < 0.3:
            job["existing"] = rng.choice(("keep", "keep_live", "refuse"))
        self._records.write(Asked(name, version, not_before_at_ms))
        try:
            answer = await self._client.request("submit", job)
        except (ConnectionLost, CannotConnect):
            await trio.sleep(AGAIN_S)
            return False
        self._records.write(Acknowledged(name, version, answer["result"]))
        return True

    async def _remove(self, func: str, name: str) -> None:
        self._records.write(RemoveAsked(name))
        while True:
            try:
                await self._client.remove(func, name)
            except (ConnectionLost, CannotConnect):
                await trio.sleep(AGAIN_S)
            else:
                self._records.write(Removed(name))
                return

    async def batches(self) -> None:
        rng = Random(f"{self._seed} batches")
        version = 0
        while not self.stopping:
            version += 1
            group = f"{self._seed}-batch-{rng.randrange(BATCH_GROUPS)}"
            due_at_ms = BATCH_DUE_AT_MS + version
            batch = [
                {"func": BATCH_FUNC, "name": f"{group}-{number}", "due_at_ms": due_at_ms}
                for number in range(BATCH_JOBS)
            ]
            self._records.write(BatchAsked(group, version))
            try:
                await self._client.request("submit_batch", batch)
            except (ConnectionLost, CannotConnect):
                await trio.sleep(AGAIN_S)
            else:
                self._records.write(BatchAcknowledged(group, version))
                await trio.sleep(rng.expovariate(1 / 0.1))

    async def settings(self) -> None:
        """Each number that is set of a function of its own is greater than the one before."""
        rng = Random(f"{self._seed} settings")
        func = f"{self._seed}-set"
        queue_max = 0
        while not self.stopping:
            queue_max += 1
            self._records.write(SettingAsked(func, queue_max))
            try:
                await self._client.request("set_function", func, {"queue_max": queue_max})
            except (ConnectionLost, CannotConnect):
                await trio.sleep(AGAIN_S)
            else:
                self._records.write(SettingAcknowledged(func, queue_max))
                await trio.sleep(rng.expovariate(1 / 0.1))

    async def crowds(self) -> None:
        rng = Random(f"{self._seed} crowds")
        number = 0
        while not self.stopping:
            number += 1
            await self._crowd(f"{self._seed}-crowd-{number}", rng)
            # A crowd is many at once: without a pause it would leave the workers no time for the other names.
            with trio.move_on_after(rng.uniform(4, 12)):
                await self.stop.wait()

    async def _crowd(self, group: str, rng: Random) -> None:
        method = rng.choice(list(MATCHING))
        func = FUNC if method == "requeue_matching" else rng.choice((FUNC, FUNC, FAR_FUNC))
        not_before_at_ms = now_ms() + (FAR_MS if func == FAR_FUNC else 0)
        batch = []
        for number in range(CROWD_JOBS):
            job = plan.new_job(f"{group}-{number}", plan.workload(rng, 1, plan.CROWD_KINDS), rng)
            # After all other jobs, whose runs would have to wait for so many.
            due_at_ms = not_before_at_ms + number * CROWD_STEP_MS
            batch.append(job | {"func": func, "due_at_ms": due_at_ms, "priority": 1})
        self._records.write(CrowdAsked(group, not_before_at_ms))
        if await self._put_crowd(batch):
            self._records.write(CrowdAcknowledged(group))
        # Sometimes nothing of it has run, sometimes about half or all.
        await trio.sleep(rng.choice((0, 1, 3)))
        self._records.write(MatchingAsked(group, method))
        while True:
            try:
                await MATCHING[method](self._client, func=func, prefix=f"{group}-")
            except (ConnectionLost, CannotConnect):
                await trio.sleep(AGAIN_S)
            else:
                self._records.write(MatchingAnswered(group, method))
                return

    async def expiring(self) -> None:
        """Now and then somebody waits for what becomes of one: whoever was told that it expired knows that it did."""
        rng = Random(f"{self._seed} expiring")
        number = 0
        while not self.stopping:
            number += 1
            name = f"{self._seed}-expiring-{number}"
            if rng.random() < 0.2:
                # Where it waits in a line, longer than it has time for.
                name = name_of_locked(f"{self._seed}-expiring", rng.randrange(LOCKS), number)
            job = plan.expiring(name, rng)
            self._records.write(Asked(name, 1, job["due_at_ms"], expires_at_ms=job["expires_at_ms"]))
            with suppress(ConnectionLost, CannotConnect):
                answer = await self._client.request("submit", job)
                self._records.write(Acknowledged(name, 1, answer["result"]))
                if rng.random() < 0.1:
                    only_end = {"only_end": True, "timeout_ms": 1_000}
                    told = await self._client.request("watch", job["func"], name, only_end)
                    if told["ended"]:
                        self._records.write(Told(name, told["ending"]))
            await trio.sleep(rng.expovariate(1 / EXPIRING_EACH_S))

    async def schedule(self, number: int) -> None:
        schedule = schedules.Schedule(self._client, self._records, f"{self._seed}-schedule-{number}", number)
        await schedule.change_until(self.stop)

    async def _put_crowd(self, batch: list[dict[str, Any]]) -> bool:
        """Whether it was answered. Nothing happened as long as there was no daemon."""
        while True:
            try:
                await self._client.request("submit_batch", batch)
            except CannotConnect:
                await trio.sleep(AGAIN_S)
            except ConnectionLost:
                return False
            else:
                return True


async def main(url: str, folder: Path, seed: str) -> None:
    async with Client(url) as client, trio.open_nursery() as nursery:
        load = Load(client, folder, seed)
        for task in range(TASKS):
            nursery.start_soon(load.one_name_after_the_other, task)
        nursery.start_soon(load.locked)
        nursery.start_soon(load.groups)
        nursery.start_soon(load.batches)
        nursery.start_soon(load.calls)
        nursery.start_soon(load.settings)
        nursery.start_soon(load.crowds)
        nursery.start_soon(load.expiring)
        for number in range(schedules.SCHEDULES):
            nursery.start_soon(load.schedule, number)
        with trio.open_signal_receiver(signal.SIGTERM) as signals:
            async for _ in signals:
                load.stop.set()
                break


if __name__ == "__main__":
    trio.run(main, sys.argv[1], Path(sys.argv[2]), sys.argv[3])
