"""What is measured on: the photographs of the demo, as a phone would have made them, and small for the encoders."""

import io
from pathlib import Path

from PIL import Image, ImageOps

PICTURES = Path(__file__).parent.parent.parent / "demo" / "pictures"
PHONE = (4032, 3024)
"""12 megapixels. A quarter of it is less than 1024 wide, so a JPEG has to be decoded at the half."""
SMALL_WIDTH = 500


def large() -> list[bytes]:
    """Cut to 4:3 and enlarged; JPEGs of quality 80, 4:2:0, baseline."""
    found = []
    for path in sorted(PICTURES.glob("*.jpg")):
        with Image.open(path) as image:
            output = io.BytesIO()
            ImageOps.fit(image.convert("RGB"), PHONE, Image.Resampling.LANCZOS).save(output, "JPEG", quality=80)
            found.append(output.getvalue())
    return found


def small(count: int) -> list[Image.Image]:
    """Some of them, 500 pixels wide, without loss."""
    found = []
    for path in sorted(PICTURES.glob("*.jpg"))[:count]:
        with Image.open(path) as image:
            size = SMALL_WIDTH, round(image.height * SMALL_WIDTH / image.width)
            found.append(image.convert("RGB").resize(size, Image.Resampling.LANCZOS))
    return found
