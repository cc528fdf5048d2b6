"""What is promised of groups: one is open until all of its members have ended, finishes once, and says how they did."""

from typing import Any

from periodicd.job import Job, State
from tests.sim.book import Broken
from tests.sim.members import Count
from tests.sim.network import Asked
from tests.sim.store import FaultyStore, Image


class Groups:
    def __init__(self) -> None:
        self._counted = Count({}, {}, {})
        """As it was after the step before."""

    def begin(self, before: Image, store: FaultyStore) -> None:
        """A step has changed the disk, and what it says is judged next."""
        self._before, self._after = before, store.disk
        self._now = store.members.on_disk

    def answered(self, asked: Asked, result: dict[str, Any]) -> None:
        if asked.method == "get" and result["job"] is not None:
            self._is_shown(result["job"]["id"], result["group"])
        elif asked.method == "explain" and result["state"] == "parked":
            job = self._parked_throughout(asked.params[:2])
            if job is not None:
                gates = [gate["facts"] for gate in result["gates"] if gate["code"] == "group"]
                self._is_shown(job.id, gates[0] if gates else None)

    def _is_shown(self, job_id: int, shown: dict[str, Any] | None) -> None:
        """Of this job, how far its group is. What changed in this step may have been looked at before or after."""
        before, after = self._counted.open.get(job_id), self._now.open.get(job_id)
        has_finished = job_id in self._now.finished.keys() - self._counted.finished.keys()
        if before != after or has_finished or job_id not in self._before.jobs:
            return
        if shown != (None if after is None else after._asdict()):
            raise Broken(f"the group of job {job_id} is {after}, and shown is {shown}")

    def _parked_throughout(self, key: tuple[Any, ...]) -> Job | None:
        found = [
            job
            for job in self._after.jobs.values()
            if job.key == key and job.state is State.PARKED and job.id in self._before.jobs
        ]
        return found[0] if found and self._before.jobs[found[0].id].state is State.PARKED else None

    def check(self, store: FaultyStore) -> None:
        """After every step that ended well."""
        self._counted = store.members.on_disk
        self._figures_are_those_that_were_counted(store.disk)
        self._who_is_free_was_told_how_they_did(store.disk)

    def _figures_are_those_that_were_counted(self, disk: Image) -> None:
        """So none is there that has finished, or whose job is gone, and each is there that is open."""
        live = [job.group_id for job in disk.jobs.values() if job.group_id is not None and job.state is not State.DEAD]
        there = {group_id: group._replace(open=live.count(group_id)) for group_id, group in disk.groups.items()}
        if there != self._counted.open:
            raise Broken(f"groups on disk are {there}, and counted were {self._counted.open}")
        for group_id in there:
            job = disk.jobs[group_id]
            if job.state not in (State.PARKED, State.BEHIND):
                raise Broken(f"{job} does not wait for its group, which is {there[group_id]}")

    def _who_is_free_was_told_how_they_did(self, disk: Image) -> None:
        """Once: nothing is counted after the end."""
        for group_id, group in self._counted.finished.items():
            job = disk.jobs.get(group_id)
            if job is not None and not group.headers().items() <= (job.headers or {}).items():
                raise Broken(f"{job} was told otherwise than {group}")
