"""The disk of disk.py as a file system: ``python -m tests.power.filesystem FOLDER``, which takes orders on its stdin.

``cut SEED``: the power goes, and comes back. The other orders say how the syncs of files go; syncs.py. Each order, and
the first mount, is answered with a line. Whatever has files open must be dead before a cut.

The kernel hands each write over before write(2) returns (no write-back cache), so nothing is kept back that a sync does
not know of; the pages that SQLite maps (-shm) arrive when they are unmapped, and may be lost: they are rebuilt.
"""

import errno
import os
import stat
import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pyfuse3
import trio

from tests.power.disk import Disk, File
from tests.power.syncs import Syncs

CACHED_S = 300.0
"""Nobody but the kernel changes anything, so it may believe for long what it knows."""


class Filesystem(pyfuse3.Operations):
    """One directory of files. A file's inode is its handle too."""

    def __init__(self) -> None:
        super().__init__()
        self.disk = Disk()
        self.syncs = Syncs()
        self.forget_inodes()

    def forget_inodes(self) -> None:
        self._files: dict[int, File] = {}
        self._inodes: dict[int, int] = {}

    def _inode(self, file: File) -> int:
        inode = self._inodes.setdefault(id(file), len(self._inodes) + pyfuse3.ROOT_INODE + 1)
        self._files[inode] = file
        return inode

    def _named(self, name: bytes) -> File:
        try:
            return self.disk.names[name]
        except KeyError:
            raise pyfuse3.FUSEError(errno.ENOENT) from None

    def _attributes(self, inode: int) -> pyfuse3.EntryAttributes:
        entry = pyfuse3.EntryAttributes()
        is_root = inode == pyfuse3.ROOT_INODE
        entry.st_ino = pyfuse3.InodeT(inode)
        entry.st_mode = pyfuse3.ModeT((stat.S_IFDIR | 0o755) if is_root else (stat.S_IFREG | 0o644))
        entry.st_nlink = 1
        entry.st_uid, entry.st_gid = os.getuid(), os.getgid()
        entry.st_size = 0 if is_root else len(self._files[inode].data)
        entry.entry_timeout = entry.attr_timeout = CACHED_S
        return entry

    # -- names ---------------------------------------------------------------------------------------------------------

    async def lookup(
        self, parent_inode: pyfuse3.InodeT, name: pyfuse3.FileNameT, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        return self._attributes(self._inode(self._named(name)))

    async def create(
        self,
        parent_inode: pyfuse3.InodeT,
        name: pyfuse3.FileNameT,
        mode: pyfuse3.ModeT,
        flags: pyfuse3.FlagT,
        ctx: pyfuse3.RequestContext,
    ) -> tuple[pyfuse3.FileInfo, pyfuse3.EntryAttributes]:
        file = self.disk.names[name] = File()
        inode = self._inode(file)
        return pyfuse3.FileInfo(fh=pyfuse3.FileHandleT(inode)), self._attributes(inode)

    async def unlink(self, parent_inode: pyfuse3.InodeT, name: pyfuse3.FileNameT, ctx: pyfuse3.RequestContext) -> None:
        self._named(name)
        del self.disk.names[name]

    async def opendir(self, inode: pyfuse3.InodeT, ctx: pyfuse3.RequestContext) -> pyfuse3.FileHandleT:
        return pyfuse3.FileHandleT(inode)

    async def readdir(self, fh: pyfuse3.FileHandleT, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        for place, (name, file) in enumerate(sorted(self.disk.names.items())):
            if place >= start_id:
                attributes = self._attributes(self._inode(file))
                if not pyfuse3.readdir_reply(token, pyfuse3.FileNameT(name), attributes, place + 1):
                    return

    async def fsyncdir(self, fh: pyfuse3.FileHandleT, datasync: bool) -> None:
        self.disk.sync_names()

    # -- files ---------------------------------------------------------------------------------------------------------

    async def getattr(self, inode: pyfuse3.InodeT, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        return self._attributes(inode)

    async def setattr(
        self,
        inode: pyfuse3.InodeT,
        attr: pyfuse3.EntryAttributes,
        fields: pyfuse3.SetattrFields,
        fh: pyfuse3.FileHandleT | None,
        ctx: pyfuse3.RequestContext,
    ) -> pyfuse3.EntryAttributes:
        if fields.update_size:
            self._files[inode].truncate(attr.st_size)
        return self._attributes(inode)

    async def open(self, inode: pyfuse3.InodeT, flags: pyfuse3.FlagT, ctx: pyfuse3.RequestContext) -> pyfuse3.FileInfo:
        return pyfuse3.FileInfo(fh=pyfuse3.FileHandleT(inode), keep_cache=True)

    async def read(self, fh: pyfuse3.FileHandleT, off: int, size: int) -> bytes:
        return bytes(self._files[fh].data[off : off + size])

    async def write(self, fh: pyfuse3.FileHandleT, off: int, buf: bytes) -> int:
        self._files[fh].write(off, bytes(buf))
        return len(buf)

    async def fsync(self, fh: pyfuse3.FileHandleT, datasync: bool) -> None:
        file = self._files[fh]
        if not await self.syncs.goes_well():
            file.fail_to_sync()
            raise pyfuse3.FUSEError(errno.EIO)
        self.disk.sync(file)

    async def flush(self, fh: pyfuse3.FileHandleT) -> None:
        """close(2) syncs nothing."""

    async def release(self, fh: pyfuse3.FileHandleT) -> None:
        """A handle is the file's inode, which stays known until the next mount."""

    async def forget(self, inode_list: Sequence[tuple[pyfuse3.InodeT, int]]) -> None:
        """The same."""

    async def statfs(self, ctx: pyfuse3.RequestContext) -> pyfuse3.StatvfsData:
        figures = pyfuse3.StatvfsData()
        figures.f_bsize = figures.f_frsize = 4096
        figures.f_blocks = figures.f_bfree = figures.f_bavail = 2**20
        figures.f_files = figures.f_ffree = figures.f_favail = 1000
        figures.f_namemax = 255
        return figures


async def serve(folder: Path) -> None:
    """Until stdin ends."""
    filesystem = Filesystem()
    order = "mount"
    while order:
        filesystem.forget_inodes()
        pyfuse3.init(filesystem, str(folder), {"fsname=power", *pyfuse3.default_options})
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pyfuse3.main)
                order = await _obey(filesystem, order)
                await trio.run_process(["fusermount3", "-u", str(folder)])
        finally:
            pyfuse3.close(unmount=False)
        if order:
            filesystem.disk.cut(Random(order.split()[1]))


async def _obey(filesystem: Filesystem, order: str) -> str:
    """Answer the order that led to this mount, and obey until one needs another mount. Returns that."""
    answer = ""
    while True:
        sys.stdout.write(f"done: {order}{answer}\n")
        sys.stdout.flush()
        order = (await trio.to_thread.run_sync(sys.stdin.readline)).strip()
        if not order or order.startswith("cut"):
            filesystem.syncs.release()
            return order
        answer = await filesystem.syncs.obey(order)


if __name__ == "__main__":
    trio.run(serve, Path(sys.argv[1]))
