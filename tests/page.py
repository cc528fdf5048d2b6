"""protocol.md, played: its examples are one session with the real engine, from the first line to the last.

    python -m tests.page

writes what the daemon answered, and the hex of every message, into the page and into tests/vectors/protocol.json. By
hand one writes only the lines that begin with ``->``, and ``(5 s later)``. The tests play the page too, and fail where
it says anything else than it would after this.
"""

import json
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgpack

from periodic_client.wire import ClosingError, Message, encode, encode_error
from tests.core.script import Daemon, Peer

PAGE = Path(__file__).parent.parent / "protocol.md"
VECTORS = Path(__file__).parent / "vectors" / "protocol.json"
WIDTH = 120
SERVER = "periodicd 0.1.0"
BOOT = 3


class Example(NamedTuple):
    section: str
    arrow: str
    text: str
    """The value, or in brackets what is no value."""
    packed: bytes


class Listener(Peer):
    """Keeps every message that it hears, as it came."""

    def __init__(self, daemon: Daemon) -> None:
        super().__init__(daemon)
        self.heard: list[bytes] = []

    def hear(self, message: Message) -> None:
        self.heard.append(encode(message))
        super().hear(message)

    def say(self, packed: bytes) -> list[bytes]:
        """What the daemon sends after it was told this."""
        self.heard = []
        try:
            self.raw(packed)
        except ClosingError as error:
            return [encode_error(None, error)]
        self.daemon.step()
        return self.heard


class Session:
    def __init__(self) -> None:
        self.daemon = Daemon(server=SERVER)
        self.daemon.allow("answer", "run", "notice", "closing")  # all of it is compared with the page
        for _ in range(BOOT - 1):
            self.daemon.start()
        self.peer = Listener(self.daemon)

    def play(self, section: str, text: str, packed: bytes) -> Iterator[Example]:
        """An example that is sent, and what comes back."""
        yield Example(section, "->", text, packed)
        peer = Listener(self.daemon) if text.startswith("(") else self.peer
        yield from self._heard(section, peer.say(packed))

    def wait(self, section: str, seconds: int) -> Iterator[Example]:
        self.peer.heard = []
        self.daemon.later(seconds * 1000)
        yield from self._heard(section, self.peer.heard)

    def _heard(self, section: str, messages: list[bytes]) -> Iterator[Example]:
        for message in messages:
            yield Example(section, "<-", show(msgpack.unpackb(message)), message)


# -- text and values ---------------------------------------------------------------------------------------------------


def value_of(text: str) -> Any:
    """The value that a text of the page stands for."""
    return eval(text, {"__builtins__": {}}, {"nil": None, "true": True, "false": False})  # noqa: S307


def show(value: Any) -> str:
    """The inverse of ``value_of``."""
    match value:
        case None:
            return "nil"
        case bool():
            return "true" if value else "false"
        case str():
            return json.dumps(value, ensure_ascii=False)
        case bytes():
            return repr(value).replace("'", '"')
        case list():
            return f"[{', '.join(map(show, value))}]"
        case dict():
            return f"{{{', '.join(f'{show(key)}: {show(each)}' for key, each in value.items())}}}"
        case _:
            return str(value)


def as_json(value: Any) -> Any:
    """The value with bytes as a map of their hex, which JSON has no word for."""
    match value:
        case bytes():
            return {"bytes": value.hex()}
        case list():
            return [as_json(each) for each in value]
        case dict():
            return {key: as_json(each) for key, each in value.items()}
        case _:
            return value


# -- the page ----------------------------------------------------------------------------------------------------------

_BLOCK = re.compile(r"^```\n((?:->|<-|\().*?)^```\n", re.MULTILINE | re.DOTALL)
_ENTRY = re.compile(r"^(->|<-) (.*(?:\n {6,}\S.*)*)\n((?: {3}[0-9a-f]+\n)*)|^\((\d+) s later\)\n", re.MULTILINE)


def blocks(page: str) -> Iterator[tuple[str, re.Match[str]]]:
    """The blocks of examples, each with the heading that it stands under."""
    for block in _BLOCK.finditer(page):
        yield re.findall(r"^##+ (.*)$", page[: block.start()], re.MULTILINE)[-1], block


def examples(page: str) -> list[Example]:
    """As they stand on the page."""
    found = []
    for section, block in blocks(page):
        for arrow, text, packed, _ in _ENTRY.findall(block[1]):
            if arrow:
                found.append(Example(section, arrow, " ".join(text.split()), bytes.fromhex("".join(packed.split()))))
    return found


def played(page: str) -> tuple[str, list[Example]]:
    """The page as it should be, and its examples."""
    session = Session()
    every: list[Example] = []
    pieces, at = [], 0
    for section, block in blocks(page):
        lines = []
        for arrow, text, packed, seconds in _ENTRY.findall(block[1]):
            if seconds:
                lines.append(f"({seconds} s later)\n")
                come = list(session.wait(section, int(seconds)))
            elif arrow == "->":
                text = " ".join(text.split())
                raw = bytes.fromhex("".join(packed.split())) if text.startswith("(") else msgpack.packb(value_of(text))
                come = list(session.play(section, text, raw))
            else:
                continue
            every += come
            lines += map(_written, come)
        pieces += [page[at : block.start()], "```\n", *lines, "```\n"]
        at = block.end()
    return "".join([*pieces, page[at:]]), every


def _written(example: Example) -> str:
    text = textwrap.wrap(example.text, WIDTH - 6, break_long_words=False, break_on_hyphens=False)
    packed = textwrap.wrap(example.packed.hex(), WIDTH - 4)
    return f"{example.arrow} " + "\n      ".join(text) + "\n   " + "\n   ".join(packed) + "\n"


def vectors(every: list[Example]) -> str:
    rows = [
        {
            "section": example.section,
            "sent_by": "peer" if example.arrow == "->" else "daemon",
            "value": None if example.text.startswith("(") else as_json(value_of(example.text)),
            "hex": example.packed.hex(),
        }
        for example in every
    ]
    return json.dumps(rows, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    page, every = played(PAGE.read_text())
    PAGE.write_text(page)
    VECTORS.write_text(vectors(every))
