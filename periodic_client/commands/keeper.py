"""The keeper of a command worker: it starts the commands, and ends all of them when the worker has ended.

    python -I keeper.py SOCKET COMMAND [ARGUMENT ...]

A program of its own, run from its file, with nothing but Python's standard library, so that it is small and quick to
start. It is one process for all commands of a worker, and the only child that the worker has. SOCKET is the number of
one end of a pair of the kind SOCK_SEQPACKET. The worker has the other end: when that is closed, also by a ``kill -9``
of the worker, everything that descends from a command is killed. Orphans come to this process (it is a *subreaper*), so
who has left his process group is found too, and nobody stays a zombie.

It decides nothing: which signal is sent when is the worker's to say. It has one thread, so that what runs between fork
and exec is safe. Messages are objects of JSON:

    -> {"start": 7, "arguments": [...], "environment": {...}, "memory": null}     and three descriptors: 0, 1 and 2
    -> {"signal": 15, "to": 7}
    <- {"of": 7, "pid": 4711}                          it was started, in a process group of this number
    <- {"of": 7, "error": "No such file or directory"} it was not
    <- {"of": 7, "status": -15}                        it has ended: its exit code, or the signal as a negative number
    <- {"of": 7, "gone": true}                         and nobody is left in its process group
"""

import ctypes
import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

_PR_SET_CHILD_SUBREAPER = 36
_MESSAGE_BYTES = 2**18
"""More than a job's name and headers can be in JSON."""


class Keeper:
    def __init__(self, worker: socket.socket, command: list[str]) -> None:
        self._worker = worker
        self._command = command
        self._groups: dict[int, int] = {}
        """By the number that the worker has given it."""
        self._running: dict[int, int] = {}
        """The numbers of commands that have not ended, by process."""

    def hear(self) -> bool:
        """Do what the worker says next; false if it has ended."""
        try:
            data, descriptors, _, _ = socket.recv_fds(self._worker, _MESSAGE_BYTES, 3)
        except ConnectionResetError:  # so it is told that the worker has ended, and left something unread
            return False
        try:
            match json.loads(data) if data else None:
                case {"start": number, "arguments": arguments, "environment": environment, "memory": memory}:
                    self._start(number, arguments, environment, memory, descriptors)
                case {"signal": number, "to": command} if command in self._groups:
                    _send(number, self._groups[command])
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        return bool(data)

    def reap(self) -> None:
        """Take note of all that have ended."""
        while (ended := _next_ended()) is not None:
            pid, status = ended
            if pid in self._running:
                self._say(of=self._running.pop(pid), status=status)
        for number, group in list(self._groups.items()):
            # A process that waits to be reaped, as the command itself until just now, keeps the number of its group.
            if group not in self._running and not _send(0, group):
                del self._groups[number]
                self._say(of=number, gone=True)

    def end_all(self) -> None:
        """Kill everything that descends from a command. Who has left his group comes here when his parent is dead."""
        for group in self._groups.values():
            _send(signal.SIGKILL, group)
        # A kernel that does not list children, or not those of this process: the groups must do.
        with suppress(FileNotFoundError, ChildProcessError):
            while True:
                children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
                for pid in children:
                    with suppress(ProcessLookupError):
                        os.kill(int(pid), signal.SIGKILL)
                # The list may lack one that has just come, so only one that was killed is waited for.
                os.waitpid(-1, 0 if children else os.WNOHANG)

    def _start(
        self, number: int, arguments: list[str], environment: dict[str, str], memory: int | None, streams: list[int]
    ) -> None:
        stdin, stdout, stderr = streams
        try:
            process = subprocess.Popen(  # noqa: S603 - which command is the business of who started the worker
                [*self._command, *arguments],
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                env=os.environ | environment,
                start_new_session=True,
                preexec_fn=None if memory is None else partial(_limit_memory, memory),
            )
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            why = error.strerror if isinstance(error, OSError) else None
            self._say(of=number, error=why or str(error))
            return
        process.returncode = 0  # it is waited for in reap, and nowhere else
        self._groups[number] = process.pid
        self._running[process.pid] = number
        self._say(of=number, pid=process.pid)

    def _say(self, **message: Any) -> None:
        with suppress(OSError):  # the worker has ended: hear will say so
            self._worker.send(json.dumps(message).encode())


def _limit_memory(most: int) -> None:
    """Of each process of the command; the hard limit too, or it could be lifted again."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _send(number: int, group: int) -> bool:
    """Whether there is anybody in this process group; 0 only asks."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    except PermissionError:  # all of them have become other users'
        return True
    return True


def _next_ended() -> tuple[int, int] | None:
    """The next child that has ended, and how; None if there is none."""
    try:
        pid, status = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return None
    return (pid, os.waitstatus_to_exitcode(status)) if pid else None


def main() -> None:
    _, descriptor, *command = sys.argv
    worker = socket.socket(fileno=int(descriptor))
    worker.set_inheritable(False)
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    # What an operator sends to all at once is for the worker to obey. Handlers, as what is ignored would be inherited.
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    keeper = Keeper(worker, command)
    goes_on = True
    try:
        while goes_on:
            ready, _, _ = select.select([worker.fileno(), woken], [], [])
            if woken in ready:
                os.read(woken, 4096)
                keeper.reap()
            if worker.fileno() in ready:
                goes_on = keeper.hear()
    finally:
        keeper.end_all()


if __name__ == "__main__":
    main()
