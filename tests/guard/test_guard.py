"""A job costs what it did: counted work against limits.toml, 5 % up or down."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.guard import inside, outside
from tests.guard.compare import Counts, compare, explain, read
from tests.guard.loads import LOADS, Load

TIMES = 4
"""So often is counted at the most. A real change is there each time; chance, which only adds, is not."""

each_load = pytest.mark.parametrize("load", LOADS, ids=lambda load: load.name)


def hold(load: Load, folder: Path, count: Callable[[Load, Path], Counts]) -> None:
    limits, made_with = read()
    least: dict[str, float] = {}
    for number in range(TIMES):
        place = folder / f"{number}"
        place.mkdir()
        counted = count(load, place)
        least = {what: min(value, least.get(what, value)) for what, value in counted.items()}
        findings = compare(limits, {load.name: least})
        if not any(finding.is_dearer for finding in findings):
            break
    assert not findings, "\n" + explain(findings, made_with)


@each_load
def test_a_job_takes_as_many_statements_steps_of_sqlite_and_calls_as_it_did(load: Load, tmp_path: Path) -> None:
    hold(load, tmp_path, inside.count)


@each_load
def test_a_job_takes_as_many_system_calls_and_bytes_on_disk_as_it_did(load: Load, tmp_path: Path) -> None:
    hold(load, tmp_path, outside.count)


def test_there_is_a_limit_for_each_load_and_none_beside() -> None:
    limits, _ = read()
    assert list(limits) == [load.name for load in LOADS]
