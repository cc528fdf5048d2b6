"""A picture comes in: into root, and then its jobs to the daemon, in one commit. Nothing here decides what a picture is
worth; that it begins as one is all that is asked.

This is what the function `save` does, for who has the file at hand and may write root. It needs no room in a job, so a
picture may be as large as `max-megabytes`, and it goes from file to file in parts.

A crash between the two leaves a file that no job knows, which `image-workers sweep` finds; never a job without a file.
"""

from typing import BinaryIO

import trio

from image_workers import pictures
from image_workers.chain import Chain
from image_workers.config import Config
from image_workers.errors import Refused
from image_workers.names import type_of_name
from image_workers.progress import Progress
from image_workers.stores import Store
from periodic_client import CannotConnect, Client, ConnectionLost, Full, TimedOut

START_BYTES = 4096
"""By so many a picture is told."""
_PATIENCE_S = 10.0
_AGAIN_S = 0.5


class Intake:
    """Takes pictures in."""

    def __init__(self, config: Config, root: Store, client: Client) -> None:
        self._config = config
        self._chain = Chain(config)
        self._root = root
        self._client = client

    async def take(self, name: str, file: BinaryIO, kind: str) -> str:
        """Write the rest of `file` to root under `name`, and submit what follows. Returns the version.

        Raises `Refused`, `OSError`, TimeoutError after `upload-limit`, and what `Client.submit_group` raises. Then not
        all jobs were submitted, unless the answer was lost; to take the picture again under the same name is safe.
        """
        self._config.layout.check_original(name)
        progress = Progress()
        try:
            with trio.fail_after(self._config.upload_limit_ms / 1000):
                version = await trio.to_thread.run_sync(
                    self._root.put, name, file, kind, progress, abandon_on_cancel=True
                )
        except trio.TooSlowError:
            raise TimeoutError(f"root has not taken {name!r} in the time of upload-limit") from None
        finally:
            progress.stop("nobody waits for it any more")
        await self._submit_surely(name, version)
        return version

    async def _submit_surely(self, name: str, version: str) -> None:
        """Once more if the answer was lost: jobs of the same names take the place of what was put, and do the same."""
        until_s = trio.current_time() + _PATIENCE_S
        while True:
            try:
                await self._submit(name, version)
            except (CannotConnect, ConnectionLost, TimedOut):
                if trio.current_time() > until_s:
                    raise
                await trio.sleep(_AGAIN_S)
            else:
                return

    async def _submit(self, name: str, version: str) -> None:
        jobs, then = self._chain.saved(name, version), self._chain.finished(name)
        if then is None:
            if any(each.result == "full" for each in await self._client.submit_batch(jobs)):
                raise Full(f"a function has as many jobs as its queue_max allows, so {name!r} lacks a step; try later")
            return
        while (group := await self._client.submit_group(then, jobs)).result == "kept":
            # Of this picture as it was before; what waits for its end will wait for that of the new one instead.
            await self._client.remove(then.func, then.name, id=group.id)


def picture_type(name: str, content: bytes) -> str:
    """The media type of the content by its first bytes. Raises `Refused` unless it is a picture's, under such a name.

    A bucket is public, and a page in it runs in the name of its domain.
    """
    kind = pictures.content_type(content[:START_BYTES])
    if kind == "image/heic" and not pictures.can_open(kind):
        raise Refused(f"{name!r} is a HEIC picture, which needs one package more: pip install 'periodicd[heic]'")
    if not pictures.can_open(kind):
        raise Refused(f"{name!r} does not begin as a JPEG, PNG, WebP, GIF or AVIF picture; nothing else is published")
    said = type_of_name(name)
    if said is not None and (not said.startswith("image/") or said == "image/svg+xml"):
        raise Refused(f"the name {name!r} is that of {said}; a web server would not send it as a picture")
    return kind
