"""Workers of the library against the daemon's side spoken by hand, and the three ways in which a function runs."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import trio

from periodic_client import Job, Worker
from periodic_client.wire import Request
from tests.client.peer import Daemon, Peer

KINDS = ["async", "thread", "inline"]


def new_worker(daemon: Daemon, **options: Any) -> Worker:
    return Worker(open_stream=daemon.open_stream, rng=Random(1), **options)


@asynccontextmanager
async def running(worker: Worker, daemon: Daemon, *subscriptions: tuple[str, int]) -> AsyncIterator[Peer]:
    """The worker, connected and subscribed; in the end its connection is closed and it is cancelled."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(worker.run)
        peer = await daemon.accept()
        await peer.serve_worker(*subscriptions)
        yield peer
        await peer.close()
        nursery.cancel_scope.cancel()


def add(worker: Worker, kind: str, function: Callable[[Job], Any], limit: int = 1) -> None:
    async def in_task(job: Job) -> Any:
        return function(job)

    worker.function("f", limit=limit, inline=kind == "inline")(in_task if kind == "async" else function)


async def serve_to_the_end(peer: Peer) -> list[Any]:
    """Answer all requests until the worker closes; what it said."""
    said = []
    while (message := await peer.receive()) is not None:
        said.append(message)
        if isinstance(message, Request):
            await peer.answer(message, {})
    return said


@asynccontextmanager
async def at_work(*workers: Worker) -> AsyncIterator[None]:
    """Meanwhile they are connected to a real daemon."""
    async with trio.open_nursery() as nursery:
        for worker in workers:
            await nursery.start(worker.run)
        yield
        for worker in workers:
            worker.stop()
