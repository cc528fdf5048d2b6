"""The decoding children of a worker: as many as decode at once, each kept for the next picture; and their turns.

What decodes at once shares one budget in bytes, and whoever comes first goes first, so a large picture waits until the
ones before it are done, and is not passed by small ones for ever. A child has the wall time of its request; one that
exceeds it, or is no longer waited for, is killed. A child that ended costs the job that it worked for one try, unless
it was the picture's own doing; the next request gets a new one.
"""

import fcntl
import logging
import os
import signal
import subprocess
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import IO, Any

import trio

from image_workers.children import channel
from image_workers.children.channel import ChannelError
from image_workers.children.process import Child, ending
from image_workers.errors import Refused

_PIPE_BYTES = 2**20
_ANSWER_BYTES = 65_536
"""Of an answer, besides what its picture was allowed in memory."""

_log = logging.getLogger(__name__)


class Exited(OSError):
    """The child ended itself, as nothing of ours does: a library gave its picture up by ending the process."""


class Room:
    """Places, and bytes for all of them together. Those who wait are served in the order in which they came."""

    def __init__(self, places: int, total_bytes: int) -> None:
        self.total_bytes = total_bytes
        self._places = places
        self._bytes = total_bytes
        self._waiting: deque[tuple[int, trio.Event]] = deque()

    @asynccontextmanager
    async def taken(self, count: int) -> AsyncIterator[None]:
        """In this block one place and `count` bytes are taken. `count` may be `total_bytes` at the most."""
        turn = (count, trio.Event())
        self._waiting.append(turn)
        self._admit()
        try:
            await turn[1].wait()
            yield
        finally:
            if turn[1].is_set():
                self._places += 1
                self._bytes += count
            else:
                self._waiting.remove(turn)
            self._admit()

    def _admit(self) -> None:
        while self._waiting and self._places and self._waiting[0][0] <= self._bytes:
            count, event = self._waiting.popleft()
            self._places -= 1
            self._bytes -= count
            event.set()


class Pool:
    """At most `at_once` children, which together may take `total_bytes` of memory for what they decode.

    They are started when there is work. A request has `seconds`, and `cpu_seconds` of processor time.
    """

    def __init__(self, at_once: int, total_bytes: int, cpu_seconds: int, seconds: int) -> None:
        self._room = Room(at_once, total_bytes)
        self._cpu_seconds = cpu_seconds
        self._seconds = seconds
        self._idle: list[Child] = []

    async def ask(self, call: str, memory_bytes: int, **arguments: Any) -> dict[str, Any]:
        """The answer of a child, a map. Waits until it is its turn.

        Raises `Refused` if a limit was exceeded, or never could be kept; `OSError` if the child ended otherwise.
        """
        if memory_bytes > self._room.total_bytes:
            raise Refused(
                f"decoding it may take {memory_bytes // 10**6} MB of memory, "
                f"and all decoding together has {self._room.total_bytes // 10**6} (decoding.memory-megabytes)"
            )
        request = {"call": call, "memory_bytes": memory_bytes, "cpu_s": self._cpu_seconds, "arguments": arguments}
        async with self._room.taken(memory_bytes):
            child = self._take()
            try:
                answer = await self._answer(child, channel.pack(request), _ANSWER_BYTES + memory_bytes)
            except BaseException:
                await child.kill()
                raise
            self._idle.append(child)
            return answer

    def close(self) -> None:
        """End all children. Nobody may wait for an answer any more."""
        while self._idle:
            self._idle.pop().close()

    def _take(self) -> Child:
        while self._idle:
            child = self._idle.pop()
            if not child.has_ended():
                return child
            _log.warning("a decoding child has ended while it was idle: %s", ending(child.process.returncode))
            child.close()
        child = Child("image_workers.children.decoding", stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        for pipe in _pipes(child):
            os.set_blocking(pipe.fileno(), False)
            with suppress(OSError):  # a user may have only so much of it; it is slower then
                fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        return child

    async def _answer(self, child: Child, request: bytes, max_bytes: int) -> dict[str, Any]:
        to_child, from_child = (pipe.fileno() for pipe in _pipes(child))
        try:
            with trio.fail_after(self._seconds):
                await _send(to_child, request)
                answer = await _receive(from_child, max_bytes)
        except trio.TooSlowError:
            raise Refused(f"decoding took more than {self._seconds} s") from None
        except ChannelError as error:
            await child.kill()
            if child.process.returncode == -signal.SIGXCPU:
                raise Refused(f"decoding took more than {self._cpu_seconds} s of CPU time") from None
            kind = Exited if child.process.returncode >= 0 else OSError
            raise kind(f"the child that decoded it ended: {ending(child.process.returncode)} ({error})") from None
        if not isinstance(answer, dict):
            raise OSError("the child that decoded it answered what is no map")
        return answer


def _pipes(child: Child) -> tuple[IO[bytes], IO[bytes]]:
    assert child.process.stdin is not None
    assert child.process.stdout is not None
    return child.process.stdin, child.process.stdout


async def _send(fd: int, frame: bytes) -> None:
    rest = memoryview(frame)
    while rest:
        try:
            rest = rest[os.write(fd, rest) :]
        except BlockingIOError:
            await trio.lowlevel.wait_writable(fd)
        except BrokenPipeError:
            raise ChannelError("it reads no more") from None


async def _receive(fd: int, max_bytes: int) -> Any:
    size = channel.length(await _receive_exactly(fd, channel.HEAD_BYTES))
    if size > max_bytes:
        raise ChannelError(f"a frame of {size} bytes is more than the {max_bytes} that there may be")
    return channel.unpack(await _receive_exactly(fd, size))


async def _receive_exactly(fd: int, size: int) -> bytearray:
    content = bytearray(size)
    rest = memoryview(content)
    while rest:
        try:
            count = os.readv(fd, [rest])
        except BlockingIOError:
            await trio.lowlevel.wait_readable(fd)
            continue
        if count == 0:
            raise ChannelError("it says no more")
        rest = rest[count:]
    return content
