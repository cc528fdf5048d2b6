"""Whether what was sampled over hours stayed flat: the first third of the samples against the last. Numbers only.

Medians of the thirds, so that a moment at which the machine did something else is no finding, and a leak is one however
slowly it drips: over an hour the thirds lie forty minutes apart.
"""

import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

Sample = Mapping[str, float]
"""What was seen at one moment. ``s``: seconds since the load began."""


class Bound(NamedTuple):
    """How much the last third of a series may lie above its first: ``share`` of the first, and ``slack`` on top."""

    key: str
    meaning: str
    share: float
    slack: float


class Verdict(NamedTuple):
    bound: Bound
    first: float
    """The median of the first third."""
    last: float

    @property
    def is_flat(self) -> bool:
        """Whether it did not grow. What falls is no leak."""
        return self.last <= self.first * (1 + self.bound.share) + self.bound.slack


SAMPLES_MIN = 9
"""With fewer a third is no more than chance."""


class TooFew(ValueError):
    """There are not enough samples to judge."""


def judge(samples: Sequence[Sample], bounds: Sequence[Bound], warm_up_s: float) -> list[Verdict]:
    """One verdict for each bound, in their order. Samples of the warm-up do not count. Raises TooFew."""
    counted = [sample for sample in samples if sample["s"] >= warm_up_s]
    if len(counted) < SAMPLES_MIN:
        raise TooFew(f"{len(counted)} samples after the first {warm_up_s:.0f} s; {SAMPLES_MIN} are needed: run longer")
    third = len(counted) // 3
    return [
        Verdict(
            bound,
            statistics.median(sample[bound.key] for sample in counted[:third]),
            statistics.median(sample[bound.key] for sample in counted[-third:]),
        )
        for bound in bounds
    ]
