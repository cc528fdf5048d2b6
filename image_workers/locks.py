"""The daemon's locks under which pictures are compressed: set once there is a daemon, as the configuration says.

Which of them a job holds is chain.py's to say. Nothing here takes one.
"""

import logging

import trio

from image_workers.chain import job
from image_workers.config import Config
from periodic_client import CannotConnect, Client, ConnectionLost, TimedOut

COMPRESS = ("compress", "guetzli")
"""The functions whose jobs hold them; the second is the older name."""
_AGAIN_S = 1.0

_log = logging.getLogger(__name__)


async def set_locks(client: Client, config: Config) -> None:
    """Returns when it is done. Until then nobody holds more than 1 of a lock that is new."""
    while config.locks:
        try:
            for name, capacity in config.locks.items():
                await client.set_lock(name, capacity=capacity)
            await _fit(client, config.locks)
        except (CannotConnect, ConnectionLost, TimedOut):
            await trio.sleep(_AGAIN_S)
        else:
            return


async def _fit(client: Client, capacities: dict[str, int]) -> None:
    """Jobs from before a capacity was lowered would wait for ever for more than there is: they get all there is."""
    for func in COMPRESS:
        async for found in client.list(func):
            fitting = {lock: min(weight, capacities.get(lock, weight)) for lock, weight in found["locks"].items()}
            if fitting != found["locks"] and found["state"] in ("parked", "waiting"):
                await client.submit(job(func, found["name"], headers=found["headers"], locks=fitting))
                _log.info("%s %r waited for more of a lock than there is now", func, found["name"])
