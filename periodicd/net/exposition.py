"""What Prometheus is told, as text: the daemon's figures under their names and with their units. Values only."""

from collections.abc import Iterable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from periodicd.scheduler.figures import OTHERS, SPANS_MS, Counted, Measured, Spans

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_OF_DAEMON = (
    ("uptime_ms", "uptime_seconds", "since the start", 1_000),
    ("connections", "connections", "connections that are open", 1),
    ("running", "running", "runs in progress", 1),
)
"""Keys of ``status``, what they are called, what they mean, and what the unit is divided by."""
_OF_FUNCTION = (
    ("workers", "subscribed connections"),
    ("waiting", "jobs that wait until they are due, or for a worker"),
    ("parked", "jobs that wait for locks or for their group"),
    ("running", "runs in progress"),
    ("behind", "jobs behind a run of their name"),
    ("dead", "jobs that are dead"),
)
_COUNTED: tuple[tuple[Counted, str], ...] = (
    ("submitted", "jobs that were put"), ("started", "runs that began"), ("done", "runs that were done"),
    ("failed", "runs that failed, those whose lease ran out included"), ("later", "runs that gave their job back"),
)  # fmt: skip


def exposition(
    status: dict[str, Any], functions: list[dict[str, Any]], measured: dict[str, Measured], lag_s: float
) -> bytes:
    """``status``: an answer to it; ``functions``: those of all its pages, as it tells them; ``lag_s``: see below."""
    registry = CollectorRegistry()
    registry.register(_Told([*_daemon(status, lag_s), *_functions(functions, measured, status["now_at_ms"])]))
    return generate_latest(registry)


class _Told(Collector):
    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def _daemon(status: dict[str, Any], lag_s: float) -> Iterator[Metric]:
    info = GaugeMetricFamily("periodicd_info", "1, with what runs", labels=("server", "build", "durability"))
    info.add_metric((status["server"], status["build"], status["durability"]), 1)
    yield info
    for key, name, meaning, divisor in _OF_DAEMON:
        yield GaugeMetricFamily(f"periodicd_{name}", meaning, value=status[key] / divisor)
    yield CounterMetricFamily("periodicd_commits", "transactions that were committed", value=status["commits"])
    commit = GaugeMetricFamily("periodicd_commit_seconds", "of the last 1,000 to 2,000", labels=("quantile",))
    for quantile, key in (("0.5", "commit_p50_us"), ("0.99", "commit_p99_us")):
        if status[key] is not None:
            commit.add_metric((quantile,), status[key] / 1_000_000)
    yield commit
    yield GaugeMetricFamily("periodicd_loop_lag_seconds", "the longest that the loop was late lately", value=lag_s)


def _functions(functions: list[dict[str, Any]], measured: dict[str, Measured], now_at_ms: int) -> Iterator[Metric]:
    shown = _shown(functions, measured)
    for key, meaning in _OF_FUNCTION:
        gauge = GaugeMetricFamily(f"periodicd_function_{key}", meaning, labels=("func",))
        for func, each in shown.items():
            gauge.add_metric((func,), sum(one[key] for one in each))
        yield gauge
    overdue = GaugeMetricFamily(
        "periodicd_function_overdue_seconds", "how long the first job that waits has been due", labels=("func",)
    )
    for func, each in shown.items():
        due = [one["due_at_ms"] for one in each if one["due_at_ms"] is not None]
        overdue.add_metric((func,), max(0, now_at_ms - min(due, default=now_at_ms)) / 1_000)
    yield overdue
    for word, meaning in _COUNTED:
        counter = CounterMetricFamily(f"periodicd_jobs_{word}", meaning, labels=("func",))
        for func, of_func in measured.items():
            counter.add_metric((func,), of_func.counts[word])
        yield counter
    lost = CounterMetricFamily("periodicd_runs_lost", "runs whose lease or connection was", labels=("func",))
    for func, of_func in measured.items():
        lost.add_metric((func,), of_func.lost)
    yield lost
    lateness = {func: of_func.lateness for func, of_func in measured.items()}
    yield _histogram("periodicd_lateness_seconds", "from the due time to the run's begin", lateness)
    took = {func: of_func.took for func, of_func in measured.items()}
    yield _histogram("periodicd_run_seconds", "from a run's begin to its report", took)


def _shown(functions: list[dict[str, Any]], measured: dict[str, Measured]) -> dict[str, list[dict[str, Any]]]:
    """Under the names that are measured; all others are one."""
    shown: dict[str, list[dict[str, Any]]] = {}
    for each in functions:
        shown.setdefault(each["func"] if each["func"] in measured else OTHERS, []).append(each)
    return shown


def _histogram(name: str, meaning: str, spans: dict[str, Spans]) -> HistogramMetricFamily:
    histogram = HistogramMetricFamily(name, meaning, labels=("func",))
    for func, each in spans.items():
        total, buckets = 0, list[tuple[str, float]]()
        for bound, count in zip([*(f"{ms / 1_000:g}" for ms in SPANS_MS), "+Inf"], each.counts, strict=True):
            total += count
            buckets.append((bound, total))
        histogram.add_metric((func,), buckets, each.sum_ms / 1_000)
    return histogram
