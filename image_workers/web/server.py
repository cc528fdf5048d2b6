"""Starts the page: the listeners, the connection to the daemon, the parts, and their end on a signal."""

import logging
import resource
import signal
from collections.abc import Callable

import trio

from image_workers.config import Config
from image_workers.errors import ConfigError
from image_workers.intake import Intake
from image_workers.stores import Store
from image_workers.stores.scratch import Scratch
from image_workers.web.access import token_of
from image_workers.web.admission import Admission
from image_workers.web.app import Pages
from image_workers.web.edge import with_edge
from image_workers.web.following import Followers
from image_workers.web.listening import Connections
from image_workers.web.standing import Gallery
from periodic_client import Client

_MORE_DESCRIPTORS = 100
"""For files, the daemon, and whatever else there is."""

_log = logging.getLogger(__name__)


async def serve(config: Config, root: Store, scratch: Scratch, client: Client, told: Callable[[str], None]) -> None:
    """Until SIGTERM or SIGINT. `told` is called with the address, as soon as it listens. Raises `ConfigError`."""
    token = token_of(config)
    _make_room(config.serve.connections + _MORE_DESCRIPTORS)
    try:
        listeners = await trio.open_tcp_listeners(config.serve.port, host=config.serve.host)
    except OSError as error:
        raise ConfigError(f"serve.listen: {config.serve.listen} cannot be listened on: {error.strerror}") from error
    gallery = Gallery(config, root, client)
    admission = Admission(config.serve, token, trio.current_time)
    intake = Intake(config, root, client)
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:

        async def signalled() -> None:
            async for number in signals:
                _log.info("stopping on %s", signal.Signals(number).name)
                return

        async with client, trio.open_nursery() as nursery:
            pages = Pages(gallery, admission, scratch, intake, Followers(gallery, nursery))
            connections = Connections(with_edge(pages.app()), config.serve.connections, config.serve.forwarded)
            host, port = listeners[0].socket.getsockname()[:2]
            told(f"http://{f'[{host}]' if ':' in host else host}:{port}/")
            await connections.serve(listeners, signalled)
            nursery.cancel_scope.cancel()


def _make_room(descriptors: int) -> None:
    """So that no stranger's connection takes the descriptor that a file or the daemon needs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < descriptors:
        raise ConfigError(
            f"serve.connections: needs {descriptors} descriptors, and this process may have {hard}; "
            "lower it, or raise the limit (LimitNOFILE=)"
        )
    if soft != resource.RLIM_INFINITY and soft < descriptors:
        resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, hard))
