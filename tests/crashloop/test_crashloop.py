"""A few kills with every test run; the long loop is ``make crashloop``."""

from pathlib import Path

from tests.crashloop.loop import Loop


def test_three_kills(tmp_path: Path) -> None:
    findings = Loop(tmp_path, tmp_path, 1, (0.2, 0.7)).run(3)
    assert not findings.violations, "\n".join(map(str, findings.violations))
    assert findings.figures["done_acknowledged"] > 10
    assert findings.figures["batches_acknowledged"] > 5
    assert findings.figures["cancels_acknowledged"] > 5
    assert findings.figures["results_told"] > 5
    assert findings.figures["requests_on_many"] > 1
    assert findings.figures["runs_that_held_a_lock"] > 10
    assert findings.figures["groups_that_finished"] > 5
    assert findings.figures["expired"] > 5
    assert findings.figures["of_these_had_to_be"] > 5
