"""Ratios of paired rounds, and the bars that are set for them. Pure: nothing is run here.

A ratio is ours by theirs, both of one round, within seconds of each other; what is told is the median of the rounds and
how far they lie apart. More is better for rates (keys that end in ``_s``), less for times and costs.
"""

import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

Figures = dict[str, float]


class Ratio(NamedTuple):
    """Of all rounds."""

    median: float
    low: float
    high: float


class Bar(NamedTuple):
    """What a ratio should be."""

    limit: float
    is_least: bool
    """Or else the most."""
    pure_limit: float | None
    """The limit where the core is not compiled; None: there it is not asked for."""


def _least(limit: float, pure_limit: float | None) -> Bar:
    return Bar(limit, True, pure_limit)


def _most(limit: float, pure_limit: float | None) -> Bar:
    return Bar(limit, False, pure_limit)


BARS: dict[str, Bar] = {
    # Of ``vs_rev_*``: beside the revision from before the core was compiled.
    "vs_rev_submit_single_s": _least(1.8, None),
    "vs_rev_submit_10conn_s": _least(2.1, None),
    "vs_rev_end_to_end_s": _least(1.8, 1.25),
    "vs_rev_drain_s": _least(1.5, None),
    "vs_rev_cpu_s_per_10k": _most(0.5, None),
    "vs_rev_pickup_p50_ms": _most(1.0, 1.0),
    "vs_rev_lateness_p50_ms": _most(1.0, 1.0),
    "vs_rev_lateness_p99_ms": _most(1.0, 1.0),
    "vs_gearmand_end_to_end_s": _least(1.0, 1.0),
    "vs_beanstalkd_end_to_end_s": _least(12, 12),
    "vs_beanstalkd_submit_10conn_s": _least(1.2, 1.2),
    "vs_beanstalkd_lateness_p99_ms": _most(0.1, 0.1),
    "backlog_ratio_min": _least(0.9, 0.9),
}


def medians(rounds: Sequence[Figures]) -> Figures:
    """Of each figure."""
    return {key: statistics.median(figures[key] for figures in rounds) for key in rounds[0]}


def paired(ours: Sequence[float], theirs: Sequence[float]) -> Ratio:
    """Of figures of the same rounds. Raises ValueError if there is none, or one of theirs is not above 0."""
    if not ours or min(theirs) <= 0:
        raise ValueError(f"no ratio of {list(ours)} to {list(theirs)}")
    ratios = [our / their for our, their in zip(ours, theirs, strict=True)]
    return Ratio(statistics.median(ratios), min(ratios), max(ratios))


def compared(prefix: str, ours: Sequence[Figures], theirs: Sequence[Figures]) -> dict[str, Ratio]:
    """The ratio of each key of theirs, under the key ``prefix_key``."""
    return {
        f"{prefix}_{key}": paired([figures[key] for figures in ours], [figures[key] for figures in theirs])
        for key in theirs[0]
    }


def flat(ratios: Mapping[str, Ratio]) -> Figures:
    """As figures: the median under its key, the lowest and the highest of the rounds under ``_low`` and ``_high``."""
    found: Figures = {}
    for key, ratio in ratios.items():
        found |= {key: ratio.median, f"{key}_low": ratio.low, f"{key}_high": ratio.high}
    return found


def verdict(key: str, value: float, is_compiled: bool) -> str:
    """What its bar says of it, in words; nothing if it has none."""
    if key not in BARS:
        return ""
    bar = BARS[key]
    limit = bar.limit if is_compiled else bar.pure_limit
    wanted = f"bar: at {'least' if bar.is_least else 'most'}"
    if limit is None:
        return f"{wanted} {bar.limit:g} when compiled"
    is_met = value >= limit if bar.is_least else value <= limit
    return f"{wanted} {limit:g}, {'met' if is_met else 'missed'}"
