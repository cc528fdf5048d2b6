"""A command on a terminal: a real pty, what it shows there by the few sequences that it may use, and keys.

Anything else that comes is an error here: what is painted must be understood by every terminal.
"""

import codecs
import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from typing import Self

from rig.daemon import Daemon

WAIT_S = 30.0
_PIECE = re.compile(r"\x1b\[(\??)([\d;]*)([A-Za-z])|([^\x1b]+)|(\x1b(?!\[).|\x1b\[.)")
_BEGUN = re.compile(r"(\x1b(\[[?\d;]*)?)?$")
_PRIVATE = {"1049", "25"}
"""The other screen, and the cursor."""


class Terminal:
    """``periodic`` with these arguments; its output that came so far is ``raw``."""

    def __init__(self, daemon: Daemon, *arguments: str, width: int = 80, height: int = 24, **env: str) -> None:
        self.raw = ""
        self._begun = ""
        """Of a sequence, its beginning."""
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self.private: dict[str, bool] = {}
        self._ours, self._theirs = os.openpty()
        self._resize(width, height)
        self.modes = termios.tcgetattr(self._theirs)
        command = [sys.executable, "-m", "periodic_client", "--url", daemon.url, *arguments]
        plain = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "COLUMNS", "LINES")}
        self._process = subprocess.Popen(
            command, stdin=self._theirs, stdout=self._theirs, stderr=self._theirs, start_new_session=True,
            env=plain | {"TERM": "xterm"} | env,
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._ours)
        os.close(self._theirs)

    def press(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def resize(self, width: int, height: int) -> None:
        self._resize(width, height)
        self._process.send_signal(signal.SIGWINCH)

    def _resize(self, width: int, height: int) -> None:
        self._width, self._height = width, height
        self._lines = [" " * width] * height
        self._row = self._column = 0
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    def wait_for(self, what: str | Callable[[list[str]], bool]) -> list[str]:
        """The lines, once one of them holds this text, or this is true of them."""
        is_there = what if callable(what) else lambda lines: any(what in line for line in lines)
        until_s = time.monotonic() + WAIT_S
        while not is_there(self._lines):
            ready, _, _ = select.select([self._ours], [], [], max(0, until_s - time.monotonic()))
            assert ready, "\n".join([f"waited for {what}, and there was:", *self._lines])
            self._take()
        return list(self._lines)

    def end(self, send: signal.Signals | None = None) -> int:
        """Its exit code, once it has ended, and all that it wrote is here."""
        if send is not None:
            self._process.send_signal(send)
        code = self._process.wait(WAIT_S)
        while select.select([self._ours], [], [], 0)[0]:
            self._take()
        assert termios.tcgetattr(self._theirs) == self.modes
        return code

    def _take(self) -> None:
        text = self._decoder.decode(os.read(self._ours, 65_536))
        self.raw += text
        # What was written at once may come in two pieces.
        text = self._begun + text
        self._begun = _BEGUN.search(text)[0]  # type: ignore[index]
        for private, number, what, plain, unknown in _PIECE.findall(text.removesuffix(self._begun)):
            assert not unknown, repr(unknown)
            if plain:
                self._write(plain)
            elif private:
                assert number in _PRIVATE
                self.private[number] = what == "h"
            elif what == "H":
                self._row, self._column = (int(each) - 1 for each in number.split(";"))
            elif what == "K":
                self._lines[self._row] = self._lines[self._row][: self._column].ljust(self._width)
            elif what == "J":
                self._lines = [" " * self._width] * self._height
            else:
                assert what == "m", what

    def _write(self, text: str) -> None:
        if not self.private.get("1049"):
            return  # what comes before and after is lines, not a screen
        line = self._lines[self._row]
        self._lines[self._row] = line[: self._column] + text + line[self._column + len(text) :]
        self._column += len(text)
        assert self._column <= self._width, "a line goes on past its end"
