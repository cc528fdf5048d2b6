"""Run the jobs of examples/submit.py: `python examples/worker.py`. Ctrl-C or SIGTERM lets running jobs finish first."""

from periodic_client import Done, GiveUp, Job, NewJob, Worker

worker = Worker(name="example")


def say(text: str) -> None:
    """At once, whoever reads it, and in one piece: several threads speak."""
    print(f"{text}\n", end="", flush=True)


@worker.function("remind", limit=10)
async def remind(job: Job) -> None:
    """An async function runs in a task."""
    say(f"remind {job.name}: {job.workload.decode()}")


@worker.function("shout", limit=4)
def shout(job: Job) -> Done:
    """A sync function runs in a thread. The next job is stored in the commit that ends this one, or not at all."""
    if not job.workload:
        raise GiveUp("there is nothing to shout")
    say(f"shout {job.name}: to be printed in a second")
    return Done(submit=[NewJob("print", job.name, job.workload.upper(), headers=job.headers, delay_ms=1000)])


@worker.function("print", inline=True)
def print_workload(job: Job) -> None:
    """So short that it may run in the event loop itself."""
    language = f" (in {job.headers['language']})" if "language" in job.headers else ""
    say(f"print {job.name}: {job.workload.decode()}{language}")


say(f"waiting for jobs at {worker.url}; python examples/submit.py submits some, Ctrl-C ends")
worker.main()
