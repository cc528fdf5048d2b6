"""Pillow's codec for the data of a picture, fed by hand, which tells how much of it was taken.

Pillow's own loop of loading hides just that, and with it whether all rows were there. Knows no format: what is fed, and
what an early end means, is the business of the one who feeds.
"""

from PIL import Image

from image_workers.errors import Refused

_OUT_OF_MEMORY = -9
"""IMAGING_CODEC_MEMORY."""


class Codec:
    """Fills `image` with what is fed; `kind` and `arguments` are those of the tile that Pillow would decode."""

    def __init__(self, image: Image.Image, kind: str, arguments: tuple[object, ...]) -> None:
        self._codec = Image._getdecoder(image.mode, kind, arguments)
        self._codec.setimage(image.im, (0, 0, *image.size))
        self._left = b""
        self.done = False
        """Whether every pixel was decoded."""

    def feed(self, data: bytes | memoryview) -> int:
        """Decode on, with what was not taken before; returns how many bytes are not taken now.

        Raises `Refused` if the data are no picture's.
        """
        if self.done:
            return len(data)
        if self._left:
            data = self._left + data
        taken, error = self._codec.decode(data)
        self.done = taken < 0
        if error == _OUT_OF_MEMORY:
            raise MemoryError("the decoder is out of memory")
        if error < 0:
            raise Refused("the picture is damaged: its data cannot be decoded")
        self._left = b"" if self.done else bytes(data[taken:])
        return len(self._left)
