"""Child processes that end with this one, whatever ends it. What they are told, and say, is their owner's business.

A child is started from the thread that runs trio: the kernel ends it with the *thread* that started it, and trio's own
`open_process` starts processes in a thread that ends after some idle seconds.

A signal that an operator sends to all processes at once (Ctrl-C, or a supervisor's SIGTERM) must reach the worker
alone, which then lets running work end. So they are blocked in the child, from before it exists: a handler that the
child sets would come too late, and starting it with the signals ignored would lose one that is sent to the worker.
"""

import os
import signal
import subprocess
import sys
from typing import Any

import trio

_OPERATORS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT}

_MALLOC = {
    # Else each thread of a decoder reserves 64 MB or more, which count as address space and are never used.
    "MALLOC_ARENA_MAX": "1",
    # Else what a picture took is given back and fetched again for the next one, page by page: a fifth of its time.
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(128 * 2**20),
}
"""For glibc, see mallopt(3)."""


class Child:
    """A module of ours, run as `python -m module PID ARGUMENTS`, PID being this process. Raises `OSError`.

    It must make sure that it ends with this process (`confined.end_with_parent`). `options` are those of `Popen`.
    """

    def __init__(self, module: str, *arguments: str, **options: Any) -> None:
        command = [sys.executable, "-P", "-m", module, str(os.getpid()), *arguments]
        environment = {
            **os.environ,
            # It finds its modules where this process has them, and nowhere else.
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            **_MALLOC,
        }
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _OPERATORS)
        try:
            # With a group of its own, which can be killed as a whole.
            self.process = subprocess.Popen(command, env=environment, start_new_session=True, **options)  # noqa: S603
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self._pidfd = os.pidfd_open(self.process.pid)

    def has_ended(self) -> bool:
        return self.process.poll() is not None

    async def wait(self) -> int:
        """How it ended: its exit code, or the negative number of the signal that killed it."""
        while (code := self.process.poll()) is None:
            await trio.lowlevel.wait_readable(self._pidfd)
        return code

    async def kill(self) -> None:
        """End it and all that it started, if it still runs; and wait until it is gone."""
        self._send_kill()
        with trio.CancelScope(shield=True):
            await self.wait()
        self.close()

    def close(self) -> None:
        """The same without trio, and let go of it. May be called twice."""
        self._send_kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1

    def _send_kill(self) -> None:
        # The group is there as long as the process was not waited for, so this cannot hit a stranger.
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)


def ending(returncode: int) -> str:
    """How a child ended, in words."""
    return f"exit status {returncode}" if returncode >= 0 else f"killed by {signal.Signals(-returncode).name}"
