"""What a disk and the system's cache in front of it know of a directory of files, and what a power cut leaves of it.

The model is harsher than a file system has to be. Of what was not synced a cut keeps any part, page by page and in any
order, so that writes are lost, reordered and torn; a name that is new or deleted may have reached the disk or not. What
was synced stays. Syncing a file makes its name durable too, as ext4, XFS and btrfs do; syncing the directory does so
for all names.

Pure: no I/O and no clock, the dice come from outside.
"""

from random import Random

PAGE_BYTES = 4096

Truncation = int
Write = tuple[int, bytes]
Change = Truncation | Write


class File:
    def __init__(self) -> None:
        self.data = bytearray()
        """What programs read."""
        self._synced = bytearray()
        self._unsynced: list[Change] = []

    def write(self, offset: int, data: bytes) -> None:
        self._change((offset, data))

    def truncate(self, size: int) -> None:
        self._change(size)

    def _change(self, change: Change) -> None:
        _apply(self.data, change)
        self._unsynced.append(change)

    def sync(self) -> None:
        for change in self._unsynced:
            _apply(self._synced, change)
        self._unsynced.clear()

    def fail_to_sync(self) -> None:
        """As Linux does it: the error is told once, what was to be written counts as written and can still be read."""
        self._unsynced.clear()

    def cut(self, rng: Random) -> None:
        """Of what was not synced any part is on the disk."""
        kept = rng.choice((0.0, 0.1, 0.5, 0.9, 1.0))
        parts = [part for change in self._unsynced for part in _pages(change) if rng.random() < kept]
        rng.shuffle(parts)
        for part in parts:
            _apply(self._synced, part)
        self._unsynced.clear()
        self.data[:] = self._synced


class Disk:
    """One directory."""

    def __init__(self) -> None:
        self.names: dict[bytes, File] = {}
        self._synced_names: dict[bytes, File] = {}

    def sync(self, file: File) -> None:
        file.sync()
        self._synced_names |= {name: each for name, each in self.names.items() if each is file}

    def sync_names(self) -> None:
        self._synced_names = dict(self.names)

    def cut(self, rng: Random) -> None:
        """The power goes, and comes back."""
        for name in sorted(self.names.keys() | self._synced_names.keys()):
            if rng.random() < 0.5:
                _copy(name, self.names, self._synced_names)
            else:
                _copy(name, self._synced_names, self.names)
        for name in sorted(self.names):
            self.names[name].cut(rng)


def _copy(name: bytes, source: dict[bytes, File], target: dict[bytes, File]) -> None:
    if name in source:
        target[name] = source[name]
    else:
        target.pop(name, None)


def _apply(data: bytearray, change: Change) -> None:
    if isinstance(change, int):
        _resize(data, change)
        return
    offset, new = change
    _resize(data, max(len(data), offset))
    data[offset : offset + len(new)] = new


def _resize(data: bytearray, size: int) -> None:
    del data[size:]
    data.extend(bytes(size - len(data)))


def _pages(change: Change) -> list[Change]:
    """A write in parts that each touch one page."""
    if isinstance(change, int):
        return [change]
    offset, data = change
    begins = [offset, *range(offset - offset % PAGE_BYTES + PAGE_BYTES, offset + len(data), PAGE_BYTES)]
    ends = [*begins[1:], offset + len(data)]
    return [(begin, data[begin - offset : end - offset]) for begin, end in zip(begins, ends, strict=True)]
