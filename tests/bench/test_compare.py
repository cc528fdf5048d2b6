from contextlib import nullcontext
from pathlib import Path

import pytest

from bench.ratios import Figures
from bench.yardsticks import Server, Yardstick, compare, gearmand


def named(name: str) -> Yardstick:
    return Yardstick(name, name, lambda folder: nullcontext(Server(0, 0)), gearmand.Talk, connections=1, room=1, jobs=1)


def test_every_other_round_goes_the_other_way_round(tmp_path: Path) -> None:
    order: list[str] = []

    def work(yardstick: Yardstick, server: Server) -> Figures:
        order.append(yardstick.name)
        return {"turn_s": len(order)}

    seen = compare.in_turn(work, [named("a"), named("b")], tmp_path, 3)
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert seen == {
        "a": [{"turn_s": 1}, {"turn_s": 4}, {"turn_s": 5}],
        "b": [{"turn_s": 2}, {"turn_s": 3}, {"turn_s": 6}],
    }


def test_a_server_that_is_not_installed_is_left_out_in_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(compare, "which", lambda program: None if program == "beanstalkd" else f"/usr/sbin/{program}")
    assert [each.name for each in compare.installed()] == ["gearmand", "gearmand_ahead"]
    assert capsys.readouterr().out == "beanstalkd is left out: beanstalkd is not installed (make setup)\n"
