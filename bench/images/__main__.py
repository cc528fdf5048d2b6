"""``make bench-images``: see the package. Prints what it ran on, the tables, and each bar with whether it was met."""

import argparse
import shutil
import sys

from PIL import features

from bench.images import article, encoders, photos, rates
from rig import machine


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.images", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how often each rate is measured (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=2, help="of each such round (default: %(default)s)")
    parser.add_argument("--count", type=int, default=32, help="photographs through the chain (default: %(default)s)")
    parser.add_argument("--thumbnails", type=int, default=4, help="for the encoders, up to 4 (default: %(default)s)")
    parser.add_argument("--only", choices=("rates", "encoders", "article"), help="one of the three")
    options = parser.parse_args()
    if options.only != "rates" and (missing := [name for name in ("guetzli", "butteraugli") if not shutil.which(name)]):
        sys.exit(f"not installed: {', '.join(missing)}; as root, apt-get install {' '.join(missing)}")
    print(f"{machine.describe()}, Pillow with libjpeg-turbo {features.version('libjpeg_turbo')}")
    images = photos.small(options.thumbnails)
    bars = []
    if options.only in (None, "rates"):
        bars += rates.show(options.rounds, options.seconds, options.count)
    if options.only in (None, "encoders"):
        bars += encoders.show(images)
    if options.only in (None, "article"):
        bars += article.show(images)
    print("\nBars")
    for what, met, figure in bars:
        print(f"  {'met   ' if met else 'MISSED'}  {what}: {figure}")


if __name__ == "__main__":
    main()
