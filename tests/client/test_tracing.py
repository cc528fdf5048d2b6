"""Traces through the real daemon: from who submits, by the run, to what follows on it; the SDK keeps them."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from periodic_client import Client, Done, GiveUp, Job, NewJob, ScheduledJob, Worker
from rig.daemon import Daemon

EXPORTER = InMemorySpanExporter()
PROVIDER = TracerProvider()
PROVIDER.add_span_processor(SimpleSpanProcessor(EXPORTER))


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with Daemon(tmp_path) as daemon:
        yield daemon


@pytest.fixture(autouse=True)
def traced(monkeypatch: pytest.MonkeyPatch) -> None:
    """For this file only; a process can set its provider once."""
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", PROVIDER)
    EXPORTER.clear()


def spans() -> dict[str, ReadableSpan]:
    return {span.name: span for span in EXPORTER.get_finished_spans()}


def parent_of(span: ReadableSpan) -> int | None:
    return None if span.parent is None else span.parent.span_id


def id_of(span: ReadableSpan) -> int:
    context = span.get_span_context()
    assert context is not None
    return context.span_id


async def performed(daemon: Daemon, functions: dict[str, Any], **options: Any) -> dict[str, ReadableSpan]:
    """The job f a, submitted within a span, and what follows on it."""
    worker = Worker(daemon.url)
    ended = {func: trio.Event() for func in functions}
    token = trio.lowlevel.current_trio_token()

    def tell(func: str) -> Any:
        call = functions[func]

        def run(job: Job) -> Any:
            try:
                return call(job)
            finally:
                trio.from_thread.run_sync(ended[func].set, trio_token=token)

        return run

    for func in functions:
        worker.function(func)(tell(func))
    async with Client(daemon.url) as client, trio.open_nursery() as nursery:
        await nursery.start(worker.run)
        with PROVIDER.get_tracer("test").start_as_current_span("order"):
            await client.submit(NewJob("f", "a", **options))
        for event in ended.values():
            await event.wait()
        worker.stop()
    return spans()


async def test_a_trace_goes_from_the_submit_by_the_run_to_what_follows_on_it(daemon: Daemon) -> None:
    told = await performed(daemon, {"f": lambda job: Done(submit=[NewJob("g", "b")]), "g": lambda job: None})
    assert told.keys() == {"order", "submit f", "perform f", "perform g"}
    assert len({span.get_span_context().trace_id for span in told.values()}) == 1  # type: ignore[union-attr]
    assert parent_of(told["submit f"]) == id_of(told["order"])
    assert parent_of(told["perform f"]) == id_of(told["submit f"])
    assert parent_of(told["perform g"]) == id_of(told["perform f"])
    attributes = told["perform f"].attributes
    assert attributes is not None
    assert (attributes["messaging.system"], attributes["messaging.message.id"]) == ("periodicd", "a")


async def test_a_run_that_failed_is_marked(daemon: Daemon) -> None:
    def fail(job: Job) -> None:
        raise GiveUp("no")

    span = (await performed(daemon, {"f": fail}))["perform f"]
    assert (span.status.status_code, span.status.description) == (trace.StatusCode.ERROR, "GiveUp")
    assert span.events[0].name == "exception"


async def test_who_says_himself_where_it_stands_is_passed_on_untouched(daemon: Daemon) -> None:
    mine = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    seen: list[dict[str, str]] = []
    told = await performed(daemon, {"f": lambda job: seen.append(job.headers)}, headers={"traceparent": mine})
    assert seen == [{"traceparent": mine}]
    context = told["perform f"].get_span_context()
    assert context is not None
    assert f"{context.trace_id:032x}" == mine.split("-")[1]


def test_a_schedule_passes_nothing_on() -> None:
    """Or it would not be the same when it is set again."""
    with PROVIDER.get_tracer("test").start_as_current_span("start"):
        assert ScheduledJob("f").to_wire() == {"func": "f"}
        assert "traceparent" in NewJob("f", "a").to_wire()["headers"]
    assert NewJob("f", "a").to_wire() == {"func": "f", "name": "a"}


def test_without_the_package_nothing_is_done() -> None:
    program = (
        "import sys; sys.modules['opentelemetry'] = None; from periodic_client import NewJob, tracing;"
        "assert not tracing.HAS_TRACES; assert tracing.submitting('f') is tracing.NO_SPAN;"
        "print(NewJob('f', 'a', headers={'a': 'b'}).to_wire())"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout == "{'func': 'f', 'name': 'a', 'headers': {'a': 'b'}}\n"
