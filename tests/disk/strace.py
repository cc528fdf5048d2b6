"""strace(1) on a running daemon: to see its system calls in their order, and to make some of them fail.

It attaches to the process, so that the daemon is started, stopped and waited for as ever.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Self

import pytest

from rig.daemon import STOP_S


class Strace:
    """``with Strace(daemon.pid, output, "--inject=..."):`` it is attached inside the block."""

    def __init__(self, pid: int, output: Path, *arguments: str) -> None:
        if shutil.which("strace") is None:
            pytest.fail("strace is missing: apt-get install strace")
        self._command = ["strace", "-f", "-yy", "-xx", "-s", "1000000", "-o", str(output), *arguments, "-p", str(pid)]

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._command, stderr=subprocess.PIPE, text=True)
        assert self._process.stderr is not None
        said = self._process.stderr.readline()
        if "attached" not in said:
            pytest.fail(f"strace cannot attach (ptrace(2) may be forbidden here): {said}")
        return self

    def __exit__(self, *_: object) -> None:
        """Detach; the daemon goes on."""
        self._process.terminate()
        self._process.communicate(timeout=STOP_S)


class Call(NamedTuple):
    """A system call on a file. ``begun`` and ``ended`` are its places in the order of all that was seen."""

    name: str
    file: str
    arguments: str
    begun: int
    ended: int
    result: int


_BEGUN = re.compile(r"^(\d+) +(\w+)\((?:-1|\d+)<(.*?)>(, .*|\) .*| <unfinished .*)$")
_RESUMED = re.compile(r"^(\d+) +<\.\.\. (\w+) resumed>(.*)$")
_RESULT = re.compile(r"\)\s+= (-?\d+)")


def calls(output: Path) -> Iterator[Call]:
    """The calls that ended, in the order of their ends."""
    unfinished: dict[str, tuple[str, str, str, int]] = {}
    for place, line in enumerate(output.read_text().splitlines()):
        begun = _BEGUN.match(line)
        if begun is not None:
            thread, name, file, rest = begun.groups()
            file = os.fsdecode(_unescaped(file)) if file.startswith("\\x") else file
            if rest.endswith("<unfinished ...>"):
                unfinished[thread] = (name, file, rest, place)
                continue
            start = place
        else:
            resumed = _RESUMED.match(line)
            if resumed is None or resumed.group(1) not in unfinished:
                continue
            thread, _, rest = resumed.groups()
            name, file, early, start = unfinished.pop(thread)
            rest = early.removesuffix("<unfinished ...>") + rest
        result = _RESULT.search(rest)
        if result is not None:
            yield Call(name, file, rest, start, place, int(result.group(1)))


def content(call: Call) -> bytes:
    """What was sent or received."""
    text = re.search(r'"((?:\\x[0-9a-f]{2})*)"', call.arguments)
    return _unescaped(text.group(1)) if text else b""


def _unescaped(text: str) -> bytes:
    """strace is told to show texts as hex escapes, of which each byte has one."""
    return bytes.fromhex(text.replace("\\x", ""))
