"""A job that takes longer than its lease, extends it while it works, and stops when the run no longer counts.

Run `python examples/long_job.py`; it submits the job, works on it, and ends.
"""

import trio

from periodic_client import Client, Done, Job, LeaseLost, NewJob, Worker

worker = Worker()


@worker.function("count")
async def count(job: Job) -> Done | None:
    try:
        for step in range(8):
            print("step", step)
            await trio.sleep(0.5)
            await job.extend(2000)
    except LeaseLost:
        # The job was removed or submitted anew meanwhile, so nobody waits for what we would say.
        return None
    finally:
        worker.stop()
    return Done(b"8 steps")


async def main() -> None:
    async with Client() as client:
        submitted = await client.submit(NewJob("count", "to eight", lease_ms=2000))
        print(submitted.result)
    await worker.run()


trio.run(main)
