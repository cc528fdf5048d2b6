"""Traces, where opentelemetry-api is installed: who submits passes on where it stands, and a run goes on from there.

What is passed on is the job's header ``traceparent`` (https://www.w3.org/TR/trace-context/), with ``tracestate`` if
there is one; who has set it himself keeps it. Without the package nothing is done, and without an SDK nothing is kept.
"""

from types import TracebackType
from typing import Any, Self

try:
    from opentelemetry import propagate, trace
except ImportError:
    HAS_TRACES = False
else:
    HAS_TRACES = True

HEADER = "traceparent"


class Span:
    """Around what is done. This one is for who has no traces."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        pass

    def failed(self, error: BaseException) -> None:
        """What is done did, though nothing is raised."""


NO_SPAN = Span()


class _Traced(Span):
    def __init__(self, name: str, kind: Any, attributes: dict[str, Any], context: Any = None) -> None:
        self._span = trace.get_tracer("periodic_client").start_span(name, context, kind, attributes)
        self._current = trace.use_span(self._span, end_on_exit=True)

    def __enter__(self) -> Self:
        self._current.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._current.__exit__(kind, error, at)

    def failed(self, error: BaseException) -> None:
        self._span.record_exception(error)
        self._span.set_status(trace.Status(trace.StatusCode.ERROR, type(error).__name__))


def submitting(func: str, jobs: int = 1) -> Span:
    """Around a submit of jobs of this function; of several, of the first one's."""
    if not HAS_TRACES:
        return NO_SPAN
    attributes = _about(func) | {"messaging.batch.message_count": jobs}
    return _Traced(f"submit {func}", trace.SpanKind.PRODUCER, attributes)


def performing(func: str, name: str, run: int, attempt: int, headers: dict[str, str]) -> Span:
    """Around a run of a job, which goes on where its submitter stood."""
    if not HAS_TRACES:
        return NO_SPAN
    attributes = _about(func) | {"messaging.message.id": name, "periodic.run": run, "periodic.attempt": attempt}
    return _Traced(f"perform {func}", trace.SpanKind.CONSUMER, attributes, propagate.extract(headers))


def passed_on(headers: dict[str, str]) -> dict[str, str]:
    """The headers of a job that is submitted now."""
    if not HAS_TRACES or HEADER in headers or not trace.get_current_span().get_span_context().is_valid:
        return headers
    passed = dict(headers)
    propagate.inject(passed)
    return passed


def _about(func: str) -> dict[str, Any]:
    return {"messaging.system": "periodicd", "messaging.destination.name": func}
