"""Dead jobs in groups: which belong together, and that memory has a limit."""

import pytest

from periodic_client.dead_groups import DeadGroups, alike


@pytest.mark.parametrize(
    ("reason", "line"),
    [
        ("no such file: 17.jpg", "no such file: #.jpg"),
        ("  disk full\nTraceback:\n  line 3", "disk full"),
        ("\n\nHTTP 503 after 1.5 s\r\n", "HTTP # after #.# s"),
        ("٣ of them", "# of them"),
        ("", ""),
        (None, ""),
    ],
)
def test_reasons_are_alike_by_their_first_line_and_without_their_digits(reason: str | None, line: str) -> None:
    assert alike(reason) == line


def add(groups: DeadGroups, name: str, reason: str, at_ms: int | None, func: str = "f") -> None:
    groups.add({"func": func, "name": name, "reason": reason, "ended_at_ms": at_ms})


def test_a_group_tells_how_many_when_and_the_last_of_them() -> None:
    groups = DeadGroups()
    for name, reason, at_ms in (("b", "no 2", 20), ("a", "no 1", 10), ("c", "no 3", 30), ("d", "other", 40)):
        add(groups, name, reason, at_ms)
    add(groups, "a", "no 1", None, "g")
    assert groups.by_count() == [
        {"func": "f", "reason": "no #", "count": 3, "first_at_ms": 10, "last_at_ms": 30, "name": "c"},
        {"func": "f", "reason": "other", "count": 1, "first_at_ms": 40, "last_at_ms": 40, "name": "d"},
        {"func": "g", "reason": "no #", "count": 1, "first_at_ms": 0, "last_at_ms": 0, "name": "a"},
    ]
    assert (groups.count, groups.others) == (5, 0)


def test_of_more_groups_than_are_remembered_the_jobs_are_counted() -> None:
    groups = DeadGroups(most=2)
    for number in range(60):
        add(groups, str(number), "abc"[number % 3], number)
    assert [each["count"] for each in groups.by_count()] == [20, 20]
    assert (groups.count, groups.others) == (60, 20)
