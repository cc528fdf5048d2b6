"""What each encoder makes of the same pixels: bytes, CPU seconds, and two measures of how near it comes to them.

ssimulacra2 (more is better; 90 cannot be told from the original) is a recent measure over the whole picture;
butteraugli of 2017 (less is better) is guetzli's own, of the worst spot. They disagree, so both are shown.
"""

import io
import math
import resource
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import ssimulacra2
from PIL import Image

from image_workers.making import encoders
from image_workers.making.forms import Form, Format, Recipe

SMALLER_BAR, QUICKER_BAR = 0.85, 0.01
GUETZLI = (84, 90, 95)

Encode = Callable[[Image.Image, int], bytes]


@dataclass(frozen=True, slots=True)
class Made:
    size: int
    seconds: float
    ssimulacra2: float
    butteraugli: float


def ours(encoder: str, kind: Format = "jpeg") -> Encode:
    recipe = Recipe((), "jpegli" if encoder == "jpegli" else "pillow")
    return lambda image, quality: encoders.encoded(image, Form(image.width, format=kind, quality=quality), recipe)


def guetzli(image: Image.Image, quality: int) -> bytes:
    return guetzli_of(encoders.lossless(image, (255, 255, 255)), quality)


def guetzli_of(content: bytes, quality: int) -> bytes:
    """What guetzli makes of a PNG or a JPEG."""
    with tempfile.NamedTemporaryFile() as source, tempfile.NamedTemporaryFile() as result:
        source.write(content)
        source.flush()
        subprocess.run(["guetzli", "--quality", str(quality), source.name, result.name], check=True)
        return Path(result.name).read_bytes()


ENCODERS: tuple[tuple[str, Encode, tuple[int, ...]], ...] = (
    ("pillow", ours("pillow"), (75, 80, 85, 88, 92, 95)),
    ("jpegli with the lossless pass", ours("jpegli"), (70, 75, 80, 84, 88, 92, 95, 97)),
    ("webp", ours("pillow", "webp"), (75, 84)),
    ("avif", ours("pillow", "avif"), (55, 65)),
    ("guetzli", guetzli, GUETZLI),
)


def measured(image: Image.Image, encode: Encode, quality: int) -> Made:
    begin = _cpu_s()
    content = encode(image, quality)
    seconds = _cpu_s() - begin
    with tempfile.TemporaryDirectory() as name:
        before, after = Path(name, "before.png"), Path(name, "after.png")
        image.save(before)
        with Image.open(io.BytesIO(content)) as made:
            made.convert("RGB").save(after)
        seen = ssimulacra2.compute_ssimulacra2(str(before), str(after))
        worst = subprocess.run(["butteraugli", before, after], capture_output=True, text=True, check=True).stdout
    return Made(len(content), seconds, float(seen), float(worst.split()[0]))


def _cpu_s() -> float:
    """Of this process and the programs that it ran: it does not grow while others have the processor."""
    return time.process_time() + sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])


def show(images: list[Image.Image]) -> list[tuple[str, bool, str]]:
    """Print the tables; return the bars, each with whether it was met."""
    print(f"\n{len(images)} thumbnails of {images[0].width} pixels, from their pixels (means)")
    print(f"  {'encoder':32} {'quality':>7} {'bytes':>8} {'CPU s':>8} {'ssimulacra2':>12} {'butteraugli 2017':>17}")
    found: dict[str, dict[int, list[Made]]] = {}
    for name, encode, qualities in ENCODERS:
        for quality in qualities:
            made = [measured(image, encode, quality) for image in images]
            found.setdefault(name, {})[quality] = made
            print(
                f"  {name:32} {quality:7} {_mean(made, 'size'):8,.0f} {_mean(made, 'seconds'):8.3f} "
                f"{_mean(made, 'ssimulacra2'):12.1f} {_mean(made, 'butteraugli'):17.2f}",
                flush=True,
            )
    return _compared(found, len(images))


def _mean(made: Iterable[Made], what: str) -> float:
    return float(statistics.mean(getattr(each, what) for each in made))


def _compared(found: dict[str, dict[int, list[Made]]], count: int) -> list[tuple[str, bool, str]]:
    print("\nBytes that each needs for the quality of guetzli, relative to it (interpolated; of how many pictures)")
    print(f"  {'encoder':32} {'guetzli':>7} {'by ssimulacra2':>15} {'by butteraugli 2017':>20}")
    bars = []
    for name in ("pillow", "jpegli with the lossless pass"):
        for quality in GUETZLI:
            needs = {
                what: [
                    _bytes_at(
                        getattr(found["guetzli"][quality][at], what), [made[at] for made in found[name].values()], what
                    )
                    / found["guetzli"][quality][at].size
                    for at in range(count)
                ]
                for what in ("ssimulacra2", "butteraugli")
            }
            means = {what: _geometric(shares) for what, shares in needs.items()}
            reached = {what: sum(not math.isnan(share) for share in shares) for what, shares in needs.items()}
            seen, worst = (f"{_told(means[what])} ({reached[what]})" for what in ("ssimulacra2", "butteraugli"))
            print(f"  {name:32} {quality:7} {seen:>15} {worst:>20}")
            if name != "pillow":
                share = means["ssimulacra2"]
                bars.append(
                    (f"jpegli / guetzli {quality}, bytes at equal ssimulacra2", share <= SMALLER_BAR, _told(share))
                )
    quick = _mean(found["jpegli with the lossless pass"][84], "seconds") / _mean(found["guetzli"][84], "seconds")
    bars.append(("jpegli / guetzli 84, CPU seconds", quick <= QUICKER_BAR, f"{quick:.4f}"))
    return bars


def _bytes_at(quality: float, made: list[Made], what: str) -> float:
    """How many bytes reach this measure, between those that were tried; not a number beyond them."""
    points = sorted((getattr(each, what), math.log(each.size)) for each in made)
    for (low, few), (high, many) in pairwise(points):
        if low <= quality <= high:
            return math.exp(few + (many - few) * (quality - low) / max(high - low, 1e-9))
    return math.nan


def _geometric(shares: list[float]) -> float:
    known = [share for share in shares if not math.isnan(share)]
    return statistics.geometric_mean(known) if known else math.nan


def _told(share: float) -> str:
    return "out of reach" if math.isnan(share) else f"{share:.3f}"
