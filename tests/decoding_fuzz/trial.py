"""One picture after the other in the real decoding children, as a worker gives them; and what must hold for each.

What is asked of a picture (which call, which thumbnails) follows from its bytes, so a file alone brings back what was
found with it. One child at a time, so that its memory can be told to be this picture's.
"""

import hashlib
import io
import os
import random
import re
import resource
import signal
import time
import traceback
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import trio
from PIL import Image

from image_workers import formats, metadata
from image_workers.children.decoding import _KEPT_BYTES
from image_workers.declared import declared
from image_workers.decoder import Decoder, Limits
from image_workers.errors import Refused
from image_workers.making.forms import Fit, Form, Format, Recipe
from image_workers.pictures import LeftAsIs
from tests.image_workers.processes import children

LIMITS = Limits(cpu_seconds=5, seconds=20)
"""Of memory the default. Of time less, else an hour would be spent on a few pictures."""
MAX_PIXELS = 64_000_000
_LATE_S = 5.0
"""After its time a child must be gone in so much."""
_WORKER_S = 2.0
"""What the worker itself may need to look at a picture, while it serves nobody else."""
STRIPS: tuple[Literal["gps"], Literal["all"]] = ("gps", "all")
_FILES_OF_A_CHILD = 3
"""Two pipes, and a descriptor of the process."""

Ended = Literal[
    "decoded",
    "refused",
    "left as it is",
    "damage or memory",
    "limit of memory",
    "limit of CPU time",
    "limit of time",
    "fault",
]

_LIMITS: tuple[tuple[Ended, str], ...] = (
    ("damage or memory", r"the picture is damaged, or decoding it took more than"),
    ("limit of memory", r"decoding it (took more than|may take) \d+ MB of memory"),
    ("limit of CPU time", r"decoding took more than \d+ s of CPU time"),
    ("limit of time", r"decoding took more than \d+ s$"),
)
_SIGNAL = re.compile(r"killed by (SIG\w+)")


@dataclass(frozen=True, slots=True)
class Outcome:
    """`fault` is a few words that are the same for findings of one kind, `detail` what else is known of this one."""

    ended: Ended
    fault: str = ""
    detail: str = ""


class Broken(Exception):
    """A promise was broken; its first argument names which, the second tells more."""


class Trial:
    """A decoder with one child, which is replaced when a picture ends it. To be used under trio."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        self._limits = limits
        self._others = children(os.getpid())
        self._files = _open_files()
        self._decoder = Decoder(1, limits)
        self._reserved_bytes = 0
        self.most_of_reserved = 0.0
        """The most by which a child grew for a picture, as a part of what was reserved for that."""
        self._ask = self._decoder._pool.ask
        self._decoder._pool.ask = self._asked  # type: ignore[method-assign]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._decoder.close()

    def close(self) -> None:
        """Raise `Broken` if something of it stays behind."""
        self._decoder.close()
        if left := children(os.getpid()) - self._others:
            raise Broken("children stay behind", f"{left}")
        if _open_files() != self._files:
            raise Broken("descriptors stay behind", f"{_open_files()}, at the start {self._files}")

    async def outcome(self, content: bytes) -> Outcome:
        """How it ended with this picture."""
        try:
            _within_worker(content)
            child = await self._child()
            ended = await self._decoded(content, child)
            self._check_left_behind(child)
        except Broken as broken:
            return Outcome("fault", *broken.args)
        except Exception as error:
            return Outcome("fault", f"an undocumented {type(error).__name__}", traceback.format_exc(limit=-8))
        return Outcome(ended)

    async def _asked(self, call: str, memory_bytes: int, **arguments: Any) -> dict[str, Any]:
        self._reserved_bytes = memory_bytes
        return await self._ask(call, memory_bytes, **arguments)

    async def _child(self) -> int:
        """The child that will decode. The picture before this one may have ended it, and an ordinary one starts it."""
        if not self._decoder._pool._idle:
            await self._decoder.thumbnails(_ordinary(), Recipe((Form(8),)), MAX_PIXELS)
        return self._decoder._pool._idle[-1].process.pid

    async def _decoded(self, content: bytes, child: int) -> Ended:
        before_bytes, self._reserved_bytes = _forget_peak(child), 0
        begun_s = time.monotonic()
        try:
            with trio.fail_after(self._limits.seconds + _LATE_S):
                await request(content)(self._decoder)
            ended: Ended = "decoded"
        except LeftAsIs:
            ended = "left as it is"
        except Refused as refused:
            ended = _ended(str(refused))
        except trio.TooSlowError:
            raise Broken("a hang", f"nothing came in {time.monotonic() - begun_s:.1f} s") from None
        except MemoryError as error:
            raise Broken("short of memory", str(error)) from None
        except OSError as error:
            raise Broken(_failure(str(error)), str(error)) from None
        if self._decoder._pool._idle:
            self._check_memory(_peak(child) - before_bytes)
        return ended

    def _check_memory(self, grown_bytes: int) -> None:
        if not self._reserved_bytes:  # it was refused before a child was asked
            return
        self.most_of_reserved = max(self.most_of_reserved, grown_bytes / self._reserved_bytes)
        if grown_bytes > self._reserved_bytes + _KEPT_BYTES:  # what it keeps of earlier pictures is not reserved
            raise Broken("more memory than was reserved", f"{grown_bytes} of {self._reserved_bytes}")

    def _check_left_behind(self, child: int) -> None:
        idle = self._decoder._pool._idle
        if not idle and Path(f"/proc/{child}").exists():
            raise Broken("the child stays behind", f"{child}")
        if (files := _open_files()) > self._files + _FILES_OF_A_CHILD * len(idle):
            raise Broken("descriptors stay behind", f"{files}, at the start {self._files}")


def _ended(reason: str) -> Ended:
    return next((ended for ended, words in _LIMITS if re.match(words, reason)), "refused")


def _failure(words: str) -> str:
    """The kind of failure: by which signal the child died, or which exception it did not expect."""
    if killed := _SIGNAL.search(words):
        return f"a child died of {killed[1]}"
    return "a child ended itself" if "exit status" in words else " ".join(words.split()[:4])


def _within_worker(content: bytes) -> None:
    """What the worker itself reads of a picture: its size, and what is taken out before it is published."""
    with _in_time():
        declared(content)
        for strip in STRIPS:
            with suppress(Refused):
                metadata.stripped(content, strip)


@contextmanager
def _in_time() -> Iterator[None]:
    """A regular expression that goes on for ever can be interrupted by a signal, and by nothing else."""

    def late(*_: object) -> None:
        raise Broken("the worker itself takes long", "".join(traceback.format_stack(limit=8)))

    before = signal.signal(signal.SIGVTALRM, late)
    signal.setitimer(signal.ITIMER_VIRTUAL, _WORKER_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


# -- What is asked -----------------------------------------------------------------------------------------------------

_FORMATS: tuple[Format, ...] = ("jpeg", "jpeg", "jpeg", "png", "webp", "avif")
_FITS: tuple[tuple[int | None, Fit], ...] = ((None, "fit"), (40, "fit"), (40, "crop"), (40, "fill"))
"""With the height that they are for."""
_OTHER_CALLS = 0.2

Request = Callable[[Decoder], Awaitable[None]]


def request(content: bytes) -> Request:
    """What is asked of this picture. Raises `Broken` if what comes back is no picture."""
    dice = random.Random(hashlib.sha256(content).digest())
    if dice.random() < _OTHER_CALLS:
        return dice.choice((_thumbnail_pixels, _compressible, _compressible_original, _repacked))(content, dice)
    return _thumbnails(content, dice)


def _recipe(dice: random.Random) -> Recipe:
    forms = tuple(
        Form(dice.choice((1, 16, 64, 200)), *dice.choice(_FITS), dice.choice(_FORMATS))
        for _ in range(dice.randint(1, 3))
    )
    return Recipe(forms, dice.choice(("jpegli", "pillow")), linear=dice.random() < 0.1)


def _thumbnails(content: bytes, dice: random.Random) -> Request:
    recipe = _recipe(dice)

    async def ask(decoder: Decoder) -> None:
        made = await decoder.thumbnails(content, recipe, MAX_PIXELS)
        if len(made) != len(recipe.forms):
            raise Broken("thumbnails are missing", f"{len(made)} of {len(recipe.forms)}")
        for thumbnail, form in zip(made, recipe.forms, strict=True):
            _check_shows(thumbnail, form)

    return ask


def _thumbnail_pixels(content: bytes, dice: random.Random) -> Request:
    recipe = _recipe(dice)
    at = dice.randrange(len(recipe.forms))

    async def ask(decoder: Decoder) -> None:
        picture = await decoder.thumbnail_pixels(content, recipe, at, MAX_PIXELS, 2_000_000)
        _check_opens(picture.content, (picture.width, picture.height))

    return ask


def _compressible(content: bytes, _dice: random.Random) -> Request:
    async def ask(decoder: Decoder) -> None:
        picture = await decoder.compressible(content, 2_000_000)
        _check_opens(picture.content, (picture.width, picture.height))

    return ask


def _compressible_original(content: bytes, _dice: random.Random) -> Request:
    async def ask(decoder: Decoder) -> None:
        picture = await decoder.compressible_original(content, 2_000_000)
        _check_opens(picture.content, (picture.width, picture.height))

    return ask


def _repacked(content: bytes, _dice: random.Random) -> Request:
    async def ask(decoder: Decoder) -> None:
        _check_opens(await decoder.repacked(content, MAX_PIXELS))

    return ask


def _check_opens(content: bytes, size: tuple[int, int] | None = None) -> None:
    """By our own reading, since it may be the picture itself, which ends where Pillow would want more."""
    try:
        picture = formats.opened(content)
        picture.decode(picture.size)
    except (Refused, OSError, ValueError) as error:
        raise Broken("a result that does not decode", str(error)) from None
    if size not in (None, picture.size):
        raise Broken("another size than it says", f"{picture.size}, said {size}")


def _check_shows(content: bytes, form: Form) -> None:
    try:
        with Image.open(io.BytesIO(content)) as image:
            image.load()
    except (OSError, SyntaxError, ValueError) as error:
        raise Broken("a thumbnail that does not decode", str(error)) from None
    if str(image.format).lower() != form.format or image.width > form.width:
        raise Broken("a thumbnail of another kind", f"{image.format} {image.size}, wanted {form}")


def _ordinary() -> bytes:
    output = io.BytesIO()
    Image.new("RGB", (8, 8)).save(output, "PNG")
    return output.getvalue()


# -- The process -------------------------------------------------------------------------------------------------------


def _open_files() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - with the one of the listing, each time


def _forget_peak(pid: int) -> int:
    """Let the peak of its memory begin anew; how much it has now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


def _peak(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return 1024 * int(re.search(r"VmHWM:\s+(\d+)", status)[1])  # type: ignore[index]
