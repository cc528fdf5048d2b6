"""What is promised of jobs that expire: they end in the first step after that, and do not begin."""

from typing import Any

from periodicd.clock import Now
from periodicd.job import Job, State
from periodicd.scheduler.expiry import EXPIRED_A_STEP
from tests.sim.book import Broken, job_of
from tests.sim.store import Image


def _has_not_begun(job: Job) -> bool:
    return job.state is not State.DEAD and not job.attempt


class Expiry:
    def given(self, jobs: list[dict[str, Any]], after: Image, now: Now) -> None:
        """Runs that a step begins."""
        for job in jobs:
            kept = after.jobs[job_of(job["handle"])]
            if job["attempt"] == 1 and kept.expires_at_ms is not None and kept.expires_at_ms <= now.wall_ms:
                raise Broken(f"{kept} has expired at {now}, and begins")

    def check(self, before: Image, after: Image, now: Now) -> None:
        """After every step that ended well."""
        expired = [
            job
            for job in before.jobs.values()
            if _has_not_begun(job) and job.expires_at_ms is not None and job.expires_at_ms <= now.wall_ms
        ]
        left = [job for job in expired if job.id in after.jobs and _has_not_begun(after.jobs[job.id])]
        if left and len(expired) <= EXPIRED_A_STEP:
            raise Broken(f"{left} have expired at {now}, and have not ended")
        for job in expired:
            if job.id in after.jobs and after.jobs[job.id].attempt:
                raise Broken(f"{job} had expired at {now}, and has begun")
