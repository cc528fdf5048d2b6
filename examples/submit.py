"""Submit timed jobs: `python examples/submit.py`, with periodicd at PERIODIC_URL or at port 5000 of this machine."""

import trio

from periodic_client import Client, NewJob, Retry


async def main() -> None:
    async with Client() as client:
        # Submitting a name again replaces the job: there is one reminder for each user, the latest.
        reminder = NewJob("remind", "ann", "the kettle is on", delay_ms=3000)
        submitted = await client.submit(reminder)
        print("reminder:", submitted.result, submitted.id)

        # When an answer was lost, submit the same again: with "keep" the job is there once, whatever had happened.
        receipt = NewJob("shout", "order 17", "thank you", headers={"language": "en"}, existing="keep")
        for _ in range(2):
            print("receipt:", (await client.submit(receipt)).result)

        # A batch is stored whole or not at all.
        retry = Retry(limit=5, backoff="exponential", delay_ms=500)
        words = [NewJob("shout", word, word, retry=retry) for word in ("hello", "timed", "world")]
        print("batch:", *[each.result for each in await client.submit_batch(words)])

        async for job in client.list(state="waiting"):
            print("waiting:", job["func"], job["name"], "due", job["due_at_ms"])


trio.run(main)
