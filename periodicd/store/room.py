"""What room a store takes and has: what it can be asked about that, and its answer. Values only."""

from typing import NamedTuple

from periodicd.store.ops import Read


class Room(Read["RoomResult"], frozen=True):
    """How large the store is, and how much there is for it to grow into."""


class RoomResult(NamedTuple):
    endings: int = 0
    """How many are remembered."""
    endings_bytes: int = 0
    """Of their data."""
    store_bytes: int = 0
    """Of the file; 0 if there is none."""
    wal_bytes: int = 0
    """Of the latest changes beside it; likewise."""
    free_bytes: int | None = None
    """Of the disk that they are on. None: there is none."""
