import pytest

from bench.ratios import BARS, Ratio, compared, flat, paired, verdict


def test_a_ratio_is_the_median_of_the_rounds_and_not_the_ratio_of_the_medians() -> None:
    assert paired([100, 10, 60], [50, 10, 20]) == Ratio(2, 1, 3)


def test_a_machine_that_slows_down_between_rounds_bends_no_ratio() -> None:
    assert paired([1_000, 100, 10], [500, 50, 5]) == Ratio(2, 2, 2)


def test_rounds_without_a_figure_of_both_sides_have_no_ratio() -> None:
    for ours, theirs in (([], []), ([1.0], [0.0]), ([1.0, 2.0], [1.0])):
        with pytest.raises(ValueError):
            paired(ours, theirs)


def test_only_what_both_sides_have_is_compared() -> None:
    assert compared("vs_other", [{"a_s": 6, "b_s": 1}], [{"a_s": 3}]) == {"vs_other_a_s": Ratio(2, 2, 2)}


def test_the_spread_is_told_under_keys_of_its_own() -> None:
    assert flat({"cpu_ratio": Ratio(4, 3, 6)}) == {"cpu_ratio": 4, "cpu_ratio_low": 3, "cpu_ratio_high": 6}


@pytest.mark.parametrize(
    ("key", "value", "is_compiled", "said"),
    [
        ("vs_rev_end_to_end_s", 1.8, True, "bar: at least 1.8, met"),
        ("vs_rev_end_to_end_s", 1.79, True, "bar: at least 1.8, missed"),
        ("vs_rev_end_to_end_s", 1.3, False, "bar: at least 1.25, met"),
        ("vs_rev_cpu_s_per_10k", 0.5, True, "bar: at most 0.5, met"),
        ("vs_rev_cpu_s_per_10k", 0.51, True, "bar: at most 0.5, missed"),
        ("vs_rev_cpu_s_per_10k", 0.4, False, "bar: at most 0.5 when compiled"),
        ("fsync_p50_ms", 1, True, ""),
    ],
)
def test_a_bar_is_met_or_missed_or_not_asked_for(key: str, value: float, is_compiled: bool, said: str) -> None:
    assert verdict(key, value, is_compiled) == said


def test_a_bar_is_a_least_for_rates_and_a_most_for_times_and_costs() -> None:
    for key, bar in BARS.items():
        assert bar.is_least == key.endswith(("_s", "_ratio_min")), key
