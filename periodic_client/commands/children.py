"""Commands as a worker holds them: started through its keeper (keeper.py), read and written through pipes, ended.

It knows processes, and nothing of jobs. Every process of a command is ended with it: what has stayed in its process
group at once, and what has left that when the worker ends.
"""

import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import chain
from math import inf
from typing import Any

import trio

from periodic_client.commands import keeper as keeper_program
from periodic_client.lines import Lines

log = Lines(__name__)

READ_BYTES = 2**16
PIPE_BYTES_MAX = 2**20
"""What a pipe can hold, at the most."""
_MESSAGE_BYTES = 2**16
_KILLED_S = 5.0
"""Who is not gone so long after SIGKILL hangs in the kernel, and is not waited for."""


class CannotStart(Exception):
    """There is no such command, or it may not be run. The text says why."""


class KeeperLost(Exception):
    """Somebody killed the keeper. What it had started is killed too, and nothing can be started any more."""


class Output:
    """What a command writes to one of its streams."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        os.set_blocking(descriptor, False)
        self._left = inf
        self._waiting = trio.CancelScope()

    async def read(self) -> bytes:
        """The next bytes; none if nobody is left who could write, or after ``finish``."""
        await trio.lowlevel.checkpoint()  # before it reads, so that what was read is with the reader at once
        while self._left > 0:
            try:
                data = os.read(self._descriptor, READ_BYTES)
            except BlockingIOError:
                if self._left < inf:
                    break
                with trio.CancelScope() as self._waiting:
                    await trio.lowlevel.wait_readable(self._descriptor)
                continue
            self._left -= len(data)
            return data
        return b""

    def finish(self) -> None:
        """Nothing is waited for any more: what is in the pipe is all. A process that left its group may hold it."""
        self._left = min(self._left, PIPE_BYTES_MAX)
        self._waiting.cancel()

    def is_readable(self) -> bool:
        """There is something to read, or nothing more will come."""
        poll = select.poll()  # unlike select it knows descriptors beyond 1,023
        poll.register(self._descriptor, select.POLLIN)
        return bool(poll.poll(0))

    async def discard(self) -> None:
        while await self.read():
            pass

    def close(self) -> None:
        trio.lowlevel.notify_closing(self._descriptor)
        os.close(self._descriptor)


class Child:
    """A command that was started, the leader of a process group. It is to be ended and closed."""

    def __init__(self, number: int, owner: "Keeper", streams: tuple[int, int, int]) -> None:
        self.pid = 0
        self.exited = trio.Event()
        self.gone = trio.Event()
        """Nobody is left in its process group."""
        self.status = 0
        """Once it has exited: its exit code, or the signal that killed it as a negative number."""
        self.stdin = trio.lowlevel.FdStream(streams[0])
        self.stdout, self.stderr = Output(streams[1]), Output(streams[2])
        self._number = number
        self._keeper = owner

    async def feed(self, data: bytes) -> None:
        """Give it this to read, and no more. It need not read it."""
        with suppress(trio.BrokenResourceError):
            await self.stdin.send_all(data)
        await self.stdin.aclose()

    async def end(self, first: signal.Signals, grace_s: float) -> None:
        """End what is left of its process group: with ``first``, and what is there after so long with SIGKILL."""
        for number, limit_s in ((first, grace_s), (signal.SIGKILL, _KILLED_S)):
            if not self.gone.is_set():
                await self._keeper.send(signal=number, to=self._number)
                with trio.move_on_after(limit_s):
                    await self.gone.wait()
        if not self.gone.is_set():
            log.error("a process of the group %d is not gone %g s after SIGKILL", self.pid, _KILLED_S)
        self.stdout.finish()
        self.stderr.finish()

    async def end_and_close(self, first: signal.Signals, grace_s: float) -> None:
        """The same, whatever is cancelled, and let go of it. What it still writes is thrown away, lest it waits."""
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.stdout.discard)
                nursery.start_soon(self.stderr.discard)
                await self.end(first, grace_s)
            await self.stdin.aclose()
        self.stdout.close()
        self.stderr.close()
        self._keeper.forget(self._number)

    @property
    def ending(self) -> str:
        """How it ended, in words."""
        if self.status >= 0:
            return f"exit code {self.status}"
        try:
            return f"killed by {signal.Signals(-self.status).name}"
        except ValueError:  # a real-time signal has no name of its own
            return f"killed by signal {-self.status}"


class Keeper:
    """Starts commands. Made by ``keeping``."""

    def __init__(self, sock: trio.socket.SocketType) -> None:
        self._socket = sock
        self._children: dict[int, Child] = {}
        self._starting: dict[int, trio.Event] = {}
        self._errors: dict[int, str] = {}
        self._last = 0

    async def start(self, arguments: Sequence[str], environment: dict[str, str], memory: int | None) -> Child:
        """The command with these arguments after its own, and these variables beside the worker's.

        ``memory``: bytes of address space that each of its processes may have. Raises CannotStart.
        """
        self._last += 1
        number = self._last
        try:
            theirs, ours = _pipes()
        except OSError as no_pipe:
            raise CannotStart(f"the command cannot be started: {no_pipe.strerror}") from None
        child = self._children[number] = Child(number, self, ours)
        self._starting[number] = trio.Event()
        message = {"start": number, "arguments": list(arguments), "environment": environment, "memory": memory}
        with trio.CancelScope(shield=True):  # what was started must be known, or nobody would end it
            try:
                await self._send(message, theirs)
            except OSError as not_sent:
                self._errors[number] = str(not_sent.strerror)
                self._starting[number].set()
            finally:
                for descriptor in theirs:
                    os.close(descriptor)
            await self._starting[number].wait()
            del self._starting[number]
            if (error := self._errors.pop(number, None)) is not None:
                child.gone.set()
                await child.end_and_close(signal.SIGKILL, 0)
                raise CannotStart(f"the command cannot be started: {error}")
        return child

    async def send(self, **message: Any) -> None:
        await self._send(message, ())

    def forget(self, number: int) -> None:
        self._children.pop(number, None)

    async def serve(self) -> None:
        """Hear what the keeper says, until cancelled. Raises KeeperLost."""
        try:
            while data := await self._socket.recv(_MESSAGE_BYTES):
                self._take(json.loads(data))
        except OSError as error:
            log.debug("the keeper's socket: %s", error)
        finally:
            self._lose()
        raise KeeperLost

    def _take(self, message: dict[str, Any]) -> None:
        number = message["of"]
        child = self._children.get(number)
        if child is None:  # it was not waited for any longer
            return
        if "status" in message:
            child.status = message["status"]
            child.exited.set()
        elif "gone" in message:
            child.gone.set()
        else:
            child.pid = message.get("pid", 0)
            if "error" in message:
                self._errors[number] = message["error"]
            self._starting[number].set()

    async def _send(self, message: dict[str, Any], descriptors: Sequence[int]) -> None:
        rights = [
            (socket.SOL_SOCKET, socket.SCM_RIGHTS, b"".join(each.to_bytes(4, sys.byteorder) for each in descriptors))
        ]
        try:
            await self._socket.sendmsg([json.dumps(message).encode()], rights if descriptors else [])
        except (BrokenPipeError, ConnectionResetError):
            self._lose()

    def _lose(self) -> None:
        """Its commands are nobody's children now, and are told by their process groups."""
        for child in self._children.values():
            if child.pid and not child.gone.is_set():
                with suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
                if not child.exited.is_set():
                    child.status = -signal.SIGKILL
            child.exited.set()
            child.gone.set()
        for number, started in self._starting.items():
            self._errors[number] = "the process that starts commands was killed"
            started.set()


def _pipes() -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """What becomes standard input, output and error of a command, and the other ends."""
    made: list[tuple[int, int]] = []
    try:
        for _ in range(3):
            made.append(os.pipe2(os.O_CLOEXEC))  # noqa: PERF401 - what was made before one failed is to be closed
    except OSError:
        for descriptor in chain(*made):
            os.close(descriptor)
        raise
    (their_in, our_in), (our_out, their_out), (our_err, their_err) = made
    return (their_in, their_out, their_err), (our_in, our_out, our_err)


@asynccontextmanager
async def keeping(command: Sequence[str], environment: Mapping[str, str]) -> AsyncIterator[Keeper]:
    """A keeper of this command; in the end all that is left of what it has started is killed. Raises KeeperLost.

    ``environment``: variables for all that it starts, beside the worker's.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        # The worker's standard error is for tracebacks. What is sent to the worker's group (Ctrl-C) is not for it.
        process = subprocess.Popen(  # noqa: ASYNC220, S603 - it takes a millisecond, and happens once
            [sys.executable, "-I", "-S", keeper_program.__file__, str(theirs.fileno()), *command],
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
    descriptor = os.pidfd_open(process.pid)
    with trio.socket.from_stdlib_socket(ours) as sock:
        keeper = Keeper(sock)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(keeper.serve)
                if os.getpid() == 1:
                    nursery.start_soon(_reap_orphans, process.pid)
                yield keeper
                nursery.cancel_scope.cancel()
        finally:
            sock.close()
            with trio.CancelScope(shield=True):
                await trio.lowlevel.wait_readable(descriptor)
            os.close(descriptor)
            process.wait()


async def _reap_orphans(own: int) -> None:
    """The first process of a container is given all orphans there. Ours come to the keeper; these are of others."""
    with trio.open_signal_receiver(signal.SIGCHLD) as signals:
        async for _ in signals:
            _reap_all_but(own)


def _reap_all_but(own: int) -> None:
    while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) and ended.si_pid != own:
        os.waitpid(ended.si_pid, 0)
