"""Every value that the wire lets through comes back from SQLite as it was; every other is refused by name."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from periodic_client.wire import Invalid
from periodic_client.wire.limits import LEASE_MS, TIME_MS_MAX
from periodicd.retry import BACKOFFS
from periodicd.store.sqlite import SqliteStore
from tests.core.script import Daemon

names = (
    st.text(min_size=1, max_size=20)
    | st.sampled_from(
        ["\x00", "a" * 255, "ä" * 127, "😀" * 63, "%", "_", "'", '"', "\ufeff", "\U0010ffff", "../../etc"]
    )
).filter(
    lambda name: len(name.encode("utf-8", "surrogatepass")) <= 255 and not any("\ud800" <= c <= "\udfff" for c in name)
)


def extremes(low: int, high: int) -> st.SearchStrategy[int]:
    return st.sampled_from([low, low + 1, high - 1, high]) | st.integers(low, high)


valid = st.fixed_dictionaries(
    {"func": names, "name": names},
    optional={
        "workload": st.binary(max_size=50) | st.sampled_from([b"", b"\x00" * 4096, b"\xff" * 4097, bytes(200_000)]),
        "due_at_ms": extremes(0, TIME_MS_MAX),
        "priority": extremes(-100, 100),
        "lease_ms": extremes(*LEASE_MS),
        "headers": st.dictionaries(names, names, max_size=8),
        "retry": st.fixed_dictionaries(
            {},
            optional={
                "limit": extremes(0, 1_000),
                "backoff": st.sampled_from(BACKOFFS),
                "delay_ms": extremes(0, 86_400_000),
                "cap_ms": extremes(0, 2_592_000_000),
                "jitter_percent": extremes(0, 100),
            },
        ),
    },
)


def test_what_is_valid_comes_back(tmp_path: Path) -> None:
    daemon = Daemon(SqliteStore(tmp_path / "periodic.db", "relaxed"))
    client = daemon.connect()

    @settings(max_examples=200, deadline=None)
    @given(st.lists(valid, min_size=1, max_size=5))
    def comes_back(jobs: list[dict[str, Any]]) -> None:
        client.ask("submit_batch", jobs)
        for job in {(job["func"], job["name"]): job for job in jobs}.values():
            kept = client.ask("get", job["func"], job["name"], {"workload": True})["job"]
            expected: dict[str, Any] = {"workload": b"", "priority": 0, "lease_ms": 600_000} | job
            if "due_at_ms" in job:
                expected["due_at_ms"] = max(job["due_at_ms"], daemon.now.wall_ms)
            expected["retry"] = kept["retry"] | job.get("retry", {})
            assert {key: kept[key] for key in expected} == expected
            assert kept["workload_bytes"] == len(expected["workload"])

    comes_back()
    daemon.store.close()


@pytest.mark.parametrize(
    ("field", "low", "high"), [("due_at_ms", 0, TIME_MS_MAX), ("priority", -100, 100), ("lease_ms", *LEASE_MS)]
)
@given(st.integers(-(2**63), 2**64 - 1))
def test_integers_are_taken_exactly_within_their_range(field: str, low: int, high: int, value: int) -> None:
    daemon = Daemon()
    client = daemon.connect()
    for candidate in (value, low - 1, low, high, high + 1):
        if low <= candidate <= high:
            client.ask("submit", {"func": "f", "name": "a", field: candidate})
            # A due time in the past is raised to now.
            kept = max(candidate, daemon.now.wall_ms) if field == "due_at_ms" else candidate
            assert daemon.job("f", "a")[field] == kept
        elif -(2**63) <= candidate < 2**64:
            with pytest.raises(Invalid, match=rf"job.{field} is an integer from {low:,} to {high:,}"):
                client.ask("submit", {"func": "f", "name": "a", field: candidate})


@given(st.integers(0, 2**64 - 1))
def test_a_delay_ends_within_the_year_9999(delay_ms: int) -> None:
    daemon = Daemon()
    client = daemon.connect()
    if delay_ms <= TIME_MS_MAX - daemon.now.wall_ms:
        client.submit("a", delay_ms=delay_ms)
        assert daemon.job("f", "a")["due_at_ms"] == daemon.now.wall_ms + delay_ms
    else:
        with pytest.raises(Invalid, match=r"job\.delay_ms"):
            client.submit("a", delay_ms=delay_ms)
