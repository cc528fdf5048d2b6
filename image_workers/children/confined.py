"""What a child process does to itself before it touches a stranger's bytes. Linux; knows nothing of pictures.

It ends with its parent, even one that is killed with -9: else a worker that starts again would work beside the children
of its predecessor. It has limits that the kernel holds, and when memory is short it is the one to be ended.

As a program it becomes another one, which so has its limits from the first instruction on:

    python -m image_workers.children.confined PARENT ADDRESS-SPACE CPU-SECONDS FILE-BYTES COMMAND [ARGUMENT ...]
"""

import ctypes
import os
import resource
import signal
import sys
from contextlib import suppress
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_NICENESS = 10
_OOM_SCORE = "500"
_CANNOT_RUN = 127
"""The exit code of a shell that finds no such command."""


def end_with_parent(parent: int) -> None:
    """Have the kernel kill this process as soon as the thread ends that started it; `parent` is its process.

    Exits at once if the parent has ended before it could be said. Raises `OSError` if the kernel does not do it.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        sys.exit(f"the process {parent}, for which this was to work, has ended")


def be_the_first_to_go() -> None:
    """Let the kernel, when memory is short, end this process rather than its parent; and leave no core then."""
    limit(resource.RLIMIT_CORE, 0)
    with suppress(OSError):  # no /proc, or a mode of it in which it cannot be written
        Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE)


def limit(kind: int, most: int) -> None:
    """Set the limit, which can be set anew; if this process was given less, that is what holds."""
    _, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def lift(kind: int) -> None:
    """Take the limit back to what this process was given."""
    _, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (hard, hard))


def main() -> None:
    parent, address_space, cpu_s, file_bytes, *command = sys.argv[1:]
    end_with_parent(int(parent))
    be_the_first_to_go()
    os.nice(_NICENESS)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and that would be inherited
        signal.signal(number, signal.SIG_DFL)
    limit(resource.RLIMIT_CPU, int(cpu_s))
    limit(resource.RLIMIT_FSIZE, int(file_bytes))
    limit(resource.RLIMIT_AS, int(address_space))
    try:
        os.execvp(command[0], command)  # noqa: S606 - no shell is wanted
    except OSError as error:
        sys.stderr.write(f"{command[0]}: {error.strerror}\n")
        sys.exit(_CANNOT_RUN)


if __name__ == "__main__":
    main()
