"""What the guard finds, and what it says of it."""

from pathlib import Path

import pytest

from tests.guard import compare as module
from tests.guard.compare import Finding, compare, explain, read, versions, write

LIMITS = {"drain": {"statements": 2.0, "calls": 100.0}}


def found(**counts: float) -> list[tuple[str, bool]]:
    return [(finding.what, finding.is_dearer) for finding in compare(LIMITS, {"drain": counts})]


def test_what_stays_within_five_percent_is_no_finding() -> None:
    assert found(statements=2.1, calls=100) == []
    assert found(statements=1.9, calls=95) == []


def test_what_became_dearer_is_found() -> None:
    assert found(statements=2.11, calls=100) == [("statements", True)]


def test_what_became_cheaper_is_found_so_that_its_limit_is_lowered() -> None:
    assert found(statements=1.89, calls=100) == [("statements", False)]


def test_the_worst_comes_first() -> None:
    assert found(statements=1, calls=200) == [("calls", True), ("statements", False)]


def test_a_count_without_a_limit_is_found() -> None:
    assert found(statements=2, calls=100, syncs=1) == [("syncs", True)]


def test_calls_are_not_missed_in_the_compiled_build() -> None:
    assert found(statements=2) == []


def test_it_says_what_was_what_is_and_what_to_do() -> None:
    dearer = explain([Finding("drain", "calls", 100, 110)], versions())
    assert "drain: calls a job were 100.000, are 110.000 (+10.0 %)" in dearer
    assert "If it must be so: make guard" in dearer
    cheaper = explain([Finding("drain", "calls", 100, 80)], versions())
    assert "(-20.0 %)" in cheaper
    assert "Lower the limits" in cheaper
    assert "our doing" not in dearer + cheaper


def test_it_says_if_another_version_of_something_may_be_the_reason() -> None:
    said = explain([Finding("drain", "calls", 100, 110)], versions() | {"trio": "0.1"})
    assert "the limits were made with trio 0.1, now " in said


def test_what_is_written_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LIMITS", tmp_path / "limits.toml")
    write({"drain": {"statements": 2.0, "calls": 123.4567}, "lone": {"calls": 0.1234567}})
    limits, made_with = read()
    assert limits == {"drain": {"statements": 2.0, "calls": 123.457}, "lone": {"calls": 0.123}}
    assert made_with == versions()
