"""A terminal, taken over for a while: lines painted, keys read, everything put back as it was. Knows no jobs.

Plain ANSI, as every terminal has had it for decades: place the cursor, write, erase the rest of the line. Of a frame
only the lines are written that differ from the one before.
"""

import codecs
import os
import sys
import termios
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal, NamedTuple

import trio

Style = Literal["", "title", "bad", "watch", "faint", "strong"]

_ATTRIBUTES: Mapping[Style, str] = {"title": "7", "bad": "1", "watch": "1", "faint": "", "strong": "1"}
"""Without colours."""
_COLOURS: Mapping[Style, str] = {"title": "7", "bad": "1;31", "watch": "33", "faint": "2", "strong": "1"}

_KEYS = {
    "\x1b[A": "up", "\x1bOA": "up", "\x1b[B": "down", "\x1bOB": "down", "\x1b[C": "right", "\x1bOC": "right",
    "\x1b[D": "left", "\x1bOD": "left", "\x1b[5~": "page up", "\x1b[6~": "page down", "\x1b[H": "home",
    "\x1bOH": "home", "\x1b[1~": "home", "\x1b": "escape", "\r": "enter", "\n": "enter", "\t": "tab",
    "\x7f": "rub", "\x08": "rub", "\x03": "quit", "\x04": "quit",
}  # fmt: skip


class Span(NamedTuple):
    text: str
    style: Style = ""


Line = Sequence[Span]


def has_colours() -> bool:
    """On a terminal, unless somebody wants none: https://no-color.org."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def cells(text: str) -> int:
    """How many columns it takes."""
    return len(text) if text.isascii() else sum(map(_cells, text))


def _cells(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def fit(text: str, width: int, *, right: bool = False) -> str:
    """In so many columns: cut off, or filled up with blanks."""
    if cells(text) > width:
        text = _cut(text, width)
    blanks = " " * (width - cells(text))
    return blanks + text if right else text + blanks


def _cut(text: str, width: int) -> str:
    room = width
    for at, char in enumerate(text):
        room -= _cells(char)
        if room < 0:
            return text[:at]
    return text


def rendered(line: Line, width: int, colours: bool | None) -> str:
    """In ``width`` columns at the most. ``colours`` None: nothing but text."""
    codes = {} if colours is None else _COLOURS if colours else _ATTRIBUTES
    parts = []
    for text, style in line:
        shown = _cut(text, width)
        # Nothing comes after what was cut off, though there may be room for half a wide character.
        width = width - cells(shown) if shown == text else 0
        code = codes.get(style)
        parts.append(f"\x1b[{code}m{shown}\x1b[m" if code and shown else shown)
    return "".join(parts)


class Screen:
    """Of ``taken``: what is on the terminal, and how large that is."""

    def __init__(self, colours: bool) -> None:
        self._colours = colours
        self._shown: list[str] = []
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.width, self.height = 80, 24
        self.measure()

    def measure(self) -> None:
        """Its size may have changed: then what is on it is not known any more."""
        self.width, self.height = os.get_terminal_size(sys.stdout.fileno())
        self._shown = []

    def paint(self, lines: Sequence[Line]) -> None:
        frame = [rendered(line, self.width, self._colours) for line in lines[: self.height]]
        frame += [""] * (self.height - len(frame))
        widths = [sum(cells(text) for text, _ in line) for line in lines] + [0] * self.height
        out = [] if self._shown else ["\x1b[2J"]
        for at, text in enumerate(frame):
            if not self._shown or self._shown[at] != text:
                # In a full line the cursor still stands on the last column, and would erase that.
                end = "\x1b[K" if widths[at] < self.width else ""
                out.append(f"\x1b[{at + 1};1H{text}{end}")
        self._shown = frame
        write("".join(out))

    async def keys(self) -> list[str] | None:
        """What was pressed, as soon as something is: of each its character or its name. None: nothing more comes."""
        await trio.lowlevel.wait_readable(sys.stdin.fileno())
        data = os.read(sys.stdin.fileno(), 1024)
        return list(keys_of(self._decoder.decode(data))) if data else None


def keys_of(text: str) -> Iterator[str]:
    """What was pressed; sequences that are not known are left out."""
    while text:
        known = max((each for each in _KEYS if text.startswith(each)), key=len, default="")
        if known == "\x1b" and len(text) > 1:
            return
        if known:
            yield _KEYS[known]
        elif text[0].isprintable():
            yield text[0]
        text = text[len(known) or 1 :]


def write(text: str) -> None:
    """What the terminal's encoding lacks is a question mark there: it is only looked at."""
    sys.stdout.write(text.encode(sys.stdout.encoding, "replace").decode(sys.stdout.encoding))
    sys.stdout.flush()


@contextmanager
def taken(colours: bool) -> Iterator[Screen]:
    """The terminal is ours: keys come one by one and are not shown, Ctrl-C is one of them, there is no cursor."""
    stdin = sys.stdin.fileno()
    before = termios.tcgetattr(stdin)
    ours = termios.tcgetattr(stdin)
    ours[3] &= ~(termios.ICANON | termios.ECHO | termios.ISIG)
    termios.tcsetattr(stdin, termios.TCSADRAIN, ours)
    try:
        write("\x1b[?1049h\x1b[?25l")
        yield Screen(colours)
    finally:
        termios.tcsetattr(stdin, termios.TCSADRAIN, before)
        write("\x1b[?25h\x1b[?1049l")
