"""What a crash orphaned: content that never gets its name, and files below root that no job reads and none removes.

Both are younger than a day while somebody still works on them, so nothing younger is named. A file that somebody put
into root by hand, and gave no removal, is an orphan too: nothing tells it from the others.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import trio

from image_workers.errors import Refused
from image_workers.stores import Entry, Store

Reader = Callable[[str], Awaitable[str | None]]
"""The job that reads, writes or removes the file of this name, in words; None if there is none."""

_DAY_S = 24 * 3600
_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Orphan:
    """What was found in `place` ("root" or "bucket"). `version` is that of a file with a name."""

    place: str
    store: Store
    entry: Entry
    version: str | None
    why: str

    async def remove(self) -> bool:
        """Remove it; tell whether that was done: a file that was written anew since stays."""
        if self.version is None:
            await _in_thread(self.store.discard, self.entry)
            return True
        return await _in_thread(self.store.remove, self.entry.name, self.version)  # type: ignore[no-any-return]


async def orphans(root: Store, bucket: Store | None, reader: Reader | None, now_s: float) -> AsyncIterator[Orphan]:
    """All orphans, one by one. Without `reader` files with a name are not looked at: nobody ever removes any."""
    oldest_s = now_s - _DAY_S
    for place, store in (("root", root), ("bucket", bucket)):
        if store is not None:
            async for entry in _batches(store.unfinished()):
                if entry.modified_s < oldest_s:
                    yield Orphan(place, store, entry, None, "it never got its name: who wrote it was killed")
    if reader is None:
        return
    async for entry in _batches(root.entries()):
        if entry.modified_s < oldest_s and (found := await _unread(root, entry, reader)):
            yield found


async def _unread(root: Store, entry: Entry, reader: Reader) -> Orphan | None:
    try:
        version = await _in_thread(root.version, entry.name)  # before the look: what is written after it stays
        if version is None or await reader(entry.name):
            return None
    except Refused:
        return None  # no job can have such a name, so it is none of ours
    return Orphan("root", root, entry, version, "no job reads it, and none removes it")


async def _batches(entries: Iterator[Entry]) -> AsyncIterator[Entry]:
    """A store may take its time for a page, so a thread waits for it."""
    while batch := await _in_thread(partial(list, islice(entries, _AT_ONCE))):
        for entry in batch:
            yield entry


async def _in_thread(call: Callable[..., Any], *arguments: object) -> Any:
    return await trio.to_thread.run_sync(call, *arguments)
