"""A command worker from its start to its end: the keeper, its commands, and the library's worker that has the jobs."""

import resource
from collections.abc import Sequence

import trio

from periodic_client.client import Client
from periodic_client.commands.children import KeeperLost, keeping
from periodic_client.commands.once import Once
from periodic_client.commands.pool import Pool
from periodic_client.commands.rules import Rules
from periodic_client.commands.runs import Runner
from periodic_client.url import URL_VARIABLE
from periodic_client.wire import PeriodicError
from periodic_client.worker import Worker

DESCRIPTORS, DESCRIPTORS_MORE = 6, 100
"""For each command while it is started, and for the rest of the worker."""


def serve(client: Client, func: str, command: Sequence[str], rules: Rules) -> str | None:
    """Do the jobs of this function until SIGTERM or SIGINT. Returns why it could not, if that is why it ended."""
    why = None
    try:
        if (refusal := trio.run(_serve, client, func, command, rules)) is not None:
            why = refusal.to_wire()
    except* KeeperLost:
        why = "the process that starts its commands was killed"
    return why


async def _serve(client: Client, func: str, command: Sequence[str], rules: Rules) -> PeriodicError | None:
    worker = Worker(client.url, drain_s=rules.drain_s)
    environment = {URL_VARIABLE: client.url, "PERIODIC_FUNC": func}
    async with client, keeping(command, environment) as keeper, trio.open_nursery() as nursery:
        _allow_descriptors(DESCRIPTORS * rules.limit + DESCRIPTORS_MORE)
        if rules.pipe:
            pool = Pool(keeper, rules, lambda: worker.result_bytes_max)
            nursery.start_soon(pool.run)
            perform = pool.perform
        else:
            perform = Once(keeper, rules, lambda: worker.result_bytes_max).perform
        worker.function(func, limit=rules.limit, interrupt=True)(Runner(rules, client, perform))
        refusal = await worker.run_until_signal()
        nursery.cancel_scope.cancel()
    return refusal


def _allow_descriptors(count: int) -> None:
    """As far as the system lets us. What was started before this keeps the limit that programs expect."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(count, hard), hard))
