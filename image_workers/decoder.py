"""Decodes pictures of strangers outside of this process: the calls of `pictures`, each in a child with limits.

How much memory a picture may take follows from what it declares. So much is taken from the budget of all that decode at
once, and the child gets not a byte more: what is promised together is never exceeded.
"""

from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, NoReturn, Self

from image_workers.children.pool import Exited, Pool
from image_workers.declared import Declared, declared
from image_workers.errors import Refused
from image_workers.making.forms import Recipe, Size
from image_workers.pictures import Compressible, LeftAsIs

_BASE_BYTES = 64 * 10**6
"""What small pictures need, several times over; the stacks of a decoder's threads are in it."""
_BYTES_PER_PIXEL = {"image/webp": 20, "image/heic": 16, "image/avif": 13, "image/png": 12, "image/gif": 11}
"""Measured at 12 megapixels (HEIC: 9), as the least address space in which each kind of picture (palettes, 16 bits,
transparency, animations) is decoded and made small: 18.4, 12.2, 10.4, 10.1 and 9.4."""
_LIBRARY_BYTES = {"image/heic": 40 * 10**6}
"""It is loaded when the first such picture comes: 37 MB."""
_BYTES_PER_SHOWN_PIXEL = 12
"""For copies in four bytes a pixel: turned, in another colour space, on white. Measured at full size: 5 to 8 more."""
_KEPT_AT_MOST = 8.0
"""Bytes a pixel of a progressive CMYK JPEG in full resolution."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Of decoding: bytes for all pictures that are decoded at once; seconds of processor and of wall time for one."""

    memory_bytes: int = 1_500_000_000
    cpu_seconds: int = 30
    seconds: int = 120


_BYTES_PER_LINEAR_PIXEL = 12
"""In linear light, of the whole picture: a colour as a number of four bytes, before and while it is made smaller."""
_BYTES_PER_MADE_PIXEL = {"jpeg": 14, "webp": 24, "avif": 40, "png": 14}
"""For the encoders. Measured in the same way, with transparency: 10, 20, 30 and 10."""
_BYTES_PER_KEPT_PIXEL, _BYTES_PER_SCALED_PIXEL, _BYTES_PER_LIGHT_PIXEL = 4, 8, 24
"""What is left of decoding while an encoder works: the decoded picture, but for a JPEG; and two made of it, or one of
them in linear light."""


def memory_bytes(content: bytes, said: Declared, shown_pixels: int | None = None) -> int:
    """How much memory is enough to decode a picture and to render it with so many pixels, or as it is."""
    shown = said.pixels if shown_pixels is None else min(shown_pixels, said.pixels)
    if said.kind == "image/jpeg":  # decoded at the next larger of 1/1, 1/2, 1/4, 1/8
        decoding = said.kept_bytes_per_pixel * said.pixels + 4 * min(said.pixels, 4 * shown)
    else:
        decoding = _BYTES_PER_PIXEL.get(said.kind, 0) * said.pixels
    base = _BASE_BYTES + _LIBRARY_BYTES.get(said.kind, 0) + 2 * len(content)
    return base + round(decoding) + _BYTES_PER_SHOWN_PIXEL * shown


def memory_bytes_for(recipe: Recipe, content: bytes, said: Declared) -> int:
    """How much memory is enough to make all thumbnails of a recipe, one after the other."""
    if not said.pixels:
        return memory_bytes(content, said)
    # Which side is shown as the width is not known without the orientation.
    sizes = ((said.width, said.height), (said.height, said.width))
    shown = max(_pixels(recipe.largest(size)) for size in sizes)
    made = max(_BYTES_PER_MADE_PIXEL[form.format] * _pixels(form.made(size)) for form in recipe.forms for size in sizes)
    if recipe.linear:
        decoding = memory_bytes(content, said) + _BYTES_PER_LINEAR_PIXEL * said.pixels
    else:
        decoding = memory_bytes(content, said, shown)
    kept = 0 if said.kind == "image/jpeg" else _BYTES_PER_KEPT_PIXEL * said.pixels
    scaled = (_BYTES_PER_LIGHT_PIXEL if recipe.linear else _BYTES_PER_SCALED_PIXEL) * shown
    return max(decoding, _BASE_BYTES + 2 * len(content) + kept + scaled + made)


def _checked(content: bytes, max_pixels: int) -> Declared:
    said = declared(content)
    if said.pixels > max_pixels:
        raise Refused(f"{said.width} x {said.height} pixels are more than the {max_pixels} allowed")
    return said


def _pixels(size: Size) -> int:
    return size[0] * size[1]


class Decoder:
    """At most `at_once` children, which are started as they are needed, and end with the block or with `close`.

    To be used in the thread that runs trio. Beside what is said of each method, all raise `Refused` for a picture that
    exceeds a limit; `MemoryError` if the machine has not the memory that the picture may take; and `OSError` if the
    child was ended from outside. These may be over the next time.
    """

    def __init__(self, at_once: int, limits: Limits) -> None:
        self._pool = Pool(at_once, limits.memory_bytes, limits.cpu_seconds, limits.seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._pool.close()

    async def thumbnails(self, content: bytes, recipe: Recipe, max_pixels: int) -> list[bytes]:
        """See `pictures.thumbnails`."""
        need = memory_bytes_for(recipe, content, _checked(content, max_pixels))
        made = await self._ask("thumbnails", need, content=content, recipe=recipe.plain(), max_pixels=max_pixels)
        return [bytes(each) for each in made]

    async def thumbnail_pixels(
        self, content: bytes, recipe: Recipe, number: int, max_pixels: int, max_made_pixels: int
    ) -> Compressible:
        """See `pictures.thumbnail_pixels`."""
        picture = await self._ask(
            "thumbnail_pixels",
            memory_bytes_for(recipe, content, _checked(content, max_pixels)),
            content=content,
            recipe=recipe.plain(),
            number=number,
            max_pixels=max_pixels,
            max_made_pixels=max_made_pixels,
        )
        return Compressible(*picture)

    async def compressible(self, content: bytes, max_pixels: int) -> Compressible:
        """See `pictures.compressible`."""
        return await self._compressible("compressible", content, max_pixels)

    async def compressible_original(self, content: bytes, max_pixels: int) -> Compressible:
        """See `metadata.compressible`."""
        return await self._compressible("compressible_original", content, max_pixels)

    async def _compressible(self, call: str, content: bytes, max_pixels: int) -> Compressible:
        said = declared(content)
        if said.pixels > max_pixels:
            said = Declared(said.kind)  # it will not be decoded
        picture = await self._ask(call, memory_bytes(content, said), content=content, max_pixels=max_pixels)
        return Compressible(*picture)

    async def repacked(self, content: bytes, max_pixels: int) -> bytes:
        """See `metadata.repacked`."""
        said = _checked(content, max_pixels)
        need = memory_bytes(content, replace(said, kept_bytes_per_pixel=_KEPT_AT_MOST)) + 8 * said.pixels
        try:
            return bytes(await self._ask("repacked", need, content=content))
        except Exited as error:  # MozJPEG's library, at numbers that it cannot write
            raise LeftAsIs(f"it cannot be packed better: {error}") from None

    async def check_jpeg(self, content: bytes, width: int, height: int) -> None:
        """See `pictures.check_jpeg`."""
        need = memory_bytes(content, Declared("image/jpeg", width, height, _KEPT_AT_MOST))
        await self._ask("check_jpeg", need, content=content, width=width, height=height)

    async def _ask(self, call: str, need: int, **arguments: Any) -> Any:
        answer = await self._pool.ask(call, need, **arguments)
        return answer["result"] if "result" in answer else _raise(answer)


def _raise(answer: dict[str, Any]) -> NoReturn:
    for kind, error in (("refused", Refused), ("left as it is", LeftAsIs), ("short of memory", MemoryError)):
        if kind in answer:
            raise error(answer[kind])
    raise OSError(f"decoding failed: {answer.get('failed', 'the child said nothing')}")
