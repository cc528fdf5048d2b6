"""What a soak calls flat, and what it calls growth; and that a drawing is one."""

from random import Random
from xml.etree import ElementTree

import pytest

from bench.flat import Bound, Sample, TooFew, judge
from bench.plot import Chart, svg
from bench.soak import BOUNDS, CHARTS, draw

MEMORY = Bound("rss_mb", "memory", share=0.03, slack=1.0)


def hours_of(*values: float) -> list[Sample]:
    return [{"s": 5.0 * number, "rss_mb": value} for number, value in enumerate(values)]


def is_flat(*values: float) -> bool:
    (verdict,) = judge(hours_of(*values), [MEMORY], warm_up_s=0)
    return verdict.is_flat


def test_what_stays_within_its_noise_is_flat() -> None:
    rng = Random(1)
    assert is_flat(*(60 + rng.uniform(-3, 3) for _ in range(720)))


def test_a_slow_leak_is_growth_though_the_noise_is_larger() -> None:
    rng = Random(1)
    assert not is_flat(*(60 + number / 720 * 6 + rng.uniform(-3, 3) for number in range(720)))


def test_a_moment_of_trouble_is_no_growth() -> None:
    assert is_flat(*[60.0] * 80, *[900.0] * 9, *[60.0] * 11)


def test_what_falls_is_flat() -> None:
    assert is_flat(*(60 - number / 10 for number in range(90)))


def test_share_and_slack_are_allowed_together() -> None:
    assert is_flat(*[60.0] * 30, *[61.0] * 30, *[62.7] * 30)
    assert not is_flat(*[60.0] * 30, *[61.0] * 30, *[62.9] * 30)


def test_the_warm_up_does_not_count() -> None:
    rising = [*range(30), *[60.0] * 90]
    (cold,) = judge(hours_of(*rising), [MEMORY], warm_up_s=0)
    (warm,) = judge(hours_of(*rising), [MEMORY], warm_up_s=150)
    assert (cold.is_flat, cold.first) == (False, 19.5)
    assert (warm.is_flat, warm.first, warm.last) == (True, 60, 60)


def test_a_run_of_a_moment_is_not_judged() -> None:
    with pytest.raises(TooFew, match=r"8 samples after the first 10 s; 9 are needed: run longer"):
        judge(hours_of(*[60.0] * 10), [MEMORY], warm_up_s=10)


def test_a_drawing_is_whole_and_its_lines_stay_inside() -> None:
    drawn = ElementTree.fromstring(svg([0, 30, 60], [Chart("a < b", [("p50", [0, 5, 10]), ("p99", [1, 1, 1])])] * 2))  # noqa: S314 - ours
    lines = drawn.findall(".//{*}polyline")
    assert len(lines) == 4
    points = [tuple(map(float, point.split(","))) for point in lines[0].attrib["points"].split()]
    assert [x for x, _ in points] == [64, 404, 744]
    assert points[0][1] == 92
    assert all(26 <= y <= 92 for _, y in points)
    assert "a < b (p50 · p99)" in [text.text for text in drawn.findall(".//{*}text")]


def test_all_that_a_soak_judges_is_drawn() -> None:
    drawn = {key for _, lines in CHARTS for _, key in lines}
    assert {bound.key for bound in BOUNDS} <= drawn
    sample = {"s": 5.0} | dict.fromkeys(drawn, 1.0)
    assert draw([sample, sample | {"s": 10.0}]).count("<polyline") == len(drawn)
