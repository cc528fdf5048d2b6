"""Each server of the benchmark does a small round of each kind, as `make bench` has it do."""

from dataclasses import replace
from pathlib import Path

import pytest

from bench.yardsticks import Yardstick, rounds
from bench.yardsticks.kinds import OTHERS, OURS
from bench.yardsticks.process import which

SUBMITS_LAST = sorted(rounds.ROUNDS, key=lambda work: work.__name__.startswith("submit"))
"""They leave jobs behind."""


@pytest.mark.parametrize("yardstick", OTHERS, ids=lambda each: each.name)
def test_make_setup_has_installed_the_other_servers(yardstick: Yardstick) -> None:
    assert which(yardstick.program), f"{yardstick.program} is not installed; `make setup` as root does it"


@pytest.mark.parametrize("yardstick", [OURS, *OTHERS], ids=lambda each: each.name)
def test_a_server_does_all_its_rounds(yardstick: Yardstick, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "SECONDS", 0.1)
    monkeypatch.setattr(rounds, "MOST", 20_000)
    monkeypatch.setattr(rounds, "PICKUPS", 5)
    monkeypatch.setattr(rounds, "CALLS", 5)
    monkeypatch.setattr(rounds, "LATE_JOBS", 20)
    monkeypatch.setattr(rounds, "DELAYS_S", (1,))
    small = replace(yardstick, jobs=yardstick.jobs // 30)
    with yardstick.start(tmp_path) as server:
        for work in SUBMITS_LAST:
            if work.__name__ not in yardstick.left_out:
                figures = work(small, server)
                figures.pop("cpu_s_per_10k", None)  # may be less than the hundredth of a second that is counted
                # A job that was given before it was due would be late by less than nothing.
                assert all(value > 0 for value in figures.values()), figures
