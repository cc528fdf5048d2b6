"""Room for an upload on the disk, out of what `scratch` allows to all. Who finds none is told so, and waits outside."""

from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from typing import BinaryIO

import trio

from image_workers.errors import Refused
from image_workers.progress import Progress, Stopped
from image_workers.stores.scratch import Scratch
from image_workers.web.refusal import Refusal


@asynccontextmanager
async def room(scratch: Scratch, size: int) -> AsyncIterator[BinaryIO]:
    """A file without a name for `size` bytes. Raises `Refusal` if there is no room within a second."""
    impatient = Progress()
    impatient.stop("there is no room")
    with ExitStack() as stack:
        try:
            file = await trio.to_thread.run_sync(stack.enter_context, scratch.file(size, impatient))
        except Stopped:
            raise Refusal(503, "too many uploads are under way; try again in some seconds", 5) from None
        except Refused:
            raise Refusal(413, "the upload needs more room than the server has (scratch.megabytes)") from None
        except OSError as error:
            raise Refusal(503, f"the server's disk does not take it: {error.strerror}", 60) from error
        yield file
