"""protocol.md is the judge: it is played against the engine, its tables are compared with the code."""

import json
import re
import subprocess
import sys
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import msgpack
import pytest
from msgspec import inspect

from periodic_client.wire import ERRORS, ClosingError, Decoder, Limits
from periodic_client.wire import limits as wire
from periodic_client.words import fields_of
from periodicd.job import CRASHES_MAX, RESTARTS_MAX, STATES
from periodicd.methods import METHODS
from periodicd.protocol import answers, fields, order_answers, order_fields
from periodicd.protocol.words import Params, Said, on_the_page
from periodicd.retry import JITTER_PERCENT, Retry
from periodicd.scheduler import Settings
from periodicd.scheduler.figures import FUNCTIONS_MAX
from periodicd.scheduler.listings import LISTINGS_MAX
from periodicd.store import ops
from periodicd.store.reads import COUNT_LOOKS
from rig.daemon import Daemon
from tests.page import PAGE, VECTORS, examples, played, value_of, vectors

TEXT = PAGE.read_text()
EXAMPLES = examples(TEXT)


# -- the examples ------------------------------------------------------------------------------------------------------


def test_the_page_is_what_playing_it_gives() -> None:
    page, every = played(TEXT)
    assert every == EXAMPLES
    assert page == TEXT, "python -m tests.page writes the page anew"
    assert VECTORS.read_text() == vectors(every)


def test_every_method_is_asked_and_answered() -> None:
    values = [value_of(each.text) for each in EXAMPLES if not each.text.startswith("(")]
    asked = {value[2] for value in values if value[0] == 0}
    assert asked == {*METHODS, "perform"}
    answered = {value[1] for value in values if value[0] == 1 and value[2] is None}
    assert {value[1] for value in values if value[0] == 0} <= answered | {value[1] for value in values if value[0] == 1}


def test_vectors_are_what_they_say() -> None:
    refused = json.loads((VECTORS.parent / "refused.json").read_text())
    for vector in refused:
        decoder = Decoder()
        with pytest.raises(ClosingError) as error:
            list(decoder.feed(bytes.fromhex(vector["hex"])))
        assert error.value.symbol == vector["error"], vector
    assert len(refused) >= 15


def test_the_quick_start_runs(tmp_path: Path) -> None:
    code = TEXT.split("```python\n", 1)[1].split("```", 1)[0]
    with Daemon(tmp_path) as daemon:
        code = code.replace("5000", daemon.url.rpartition(":")[2])
        ended = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True, timeout=30
        )
    first, second = map(value_of, ended.stdout.strip().replace("None", "nil").replace("False", "false").split("\n"))
    assert first == {"result": "created", "id": 1}
    assert second["job"]["workload"] == b"hello"
    assert len(code.strip().split("\n")) == 10


def test_prose_is_wrapped() -> None:
    assert [line for line in TEXT.split("\n") if len(line) > 120 and not line.startswith("|")] == []


# -- the tables --------------------------------------------------------------------------------------------------------


def rows(heading: str, column: str, section: str = "") -> dict[str, list[str]]:
    """The rows of a table, by their first cell: the table after ``heading`` whose first column is ``column``."""
    part = TEXT.split(f"\n### {section}\n", 1)[1] if section else TEXT
    part = part.split(heading, 1)[1] if heading else part
    table = part.split(f"| {column} |", 1)[1].split("\n\n")[0].split("\n")[2:]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table if line.startswith("|")]
    return {row[0].strip("` |"): [cell.strip(" |") for cell in row[1:]] for row in cells}


def word_of(kind: Any) -> str:
    """The page's word for a type of the code."""
    if get_origin(kind) is UnionType:
        (some,) = (each for each in get_args(kind) if each is not type(None))
        return f"{word_of(some)} or nil"
    if get_origin(kind) in (dict, list):
        return {dict: "map", list: "array"}[get_origin(kind)]
    if getattr(kind, "__total__", None) is not None:
        return "map"
    return {str: "text", int: "integer", bytes: "bytes", bool: "boolean"}[kind]


@pytest.mark.parametrize(
    ("answer", "section", "column"),
    [
        (answers.HelloAnswer, "hello", "key"),
        (answers.SubmitAnswer, "submit", "key | type | meaning"),
        (answers.SubmitBatchAnswer, "submit_batch", "key"),
        (answers.ResultAnswer, "remove", "key"),
        (answers.ResultAnswer, "cancel", "key"),
        (answers.ResultAnswer, "move", "key"),
        (answers.ResultAnswer, "end_run", "key"),
        (answers.WatchAnswer, "watch", "key"),
        (answers.ExplainAnswer, "explain", "key"),
        (answers.GateAnswer, "explain", "key of a gate"),
        (answers.TakeAnswer, "take", "key"),
        (answers.EventsAnswer, "events", "key | type | meaning"),
        (answers.EventAnswer, "events", "key of an event"),
        (answers.WorkersAnswer, "workers", "key | type | meaning"),
        (answers.WorkerAnswer, "workers", "key of a worker"),
        (answers.LastAnswer, "get", "key of `last`"),
        (answers.RequeueAnswer, "requeue", "key"),
        (answers.GetAnswer, "get", "key"),
        (answers.JobAnswer, "get", "key of a job"),
        (answers.ListAnswer, "list", "key | type | meaning"),
        (answers.StatusAnswer, "status", "key | type | meaning"),
        (answers.MatchingAnswer, "remove_matching", "key"),
        (answers.FunctionAnswer, "status", "key of a function"),
        (answers.PerformedJob, "perform", "key of a performed job"),
        (answers.ExtendAnswer, "extend", "key"),
        (order_answers.LocksAnswer, "locks", "key | type | meaning"),
        (order_answers.LockAnswer, "locks", "key of a lock"),
        (order_answers.HolderAnswer, "locks", "key of a holder"),
    ],
)
def test_the_answers_are_the_types_of_the_code(answer: Any, section: str, column: str) -> None:
    heading = (
        "The answer:"
        if section == "submit"
        else "The query"
        if section in ("list", "status", "events", "workers", "locks")
        else ""
    )
    if heading == "The query":
        heading = "\n\n| key | type | meaning | default |"
    table = {key: row[0] for key, row in rows(heading, column, section).items()}
    expected = {key: word_of(kind) for key, kind in get_type_hints(answer).items()}
    if answer is answers.PerformedJob:
        expected["workload"] = "bytes"  # the type allows for what is still on disk when the job is looked at
    assert table == expected
    assert list(table) == list(expected)


def test_the_answers_shown_have_all_their_keys() -> None:
    kinds = {
        "hello": answers.HelloAnswer, "submit": answers.SubmitAnswer, "submit_batch": answers.SubmitBatchAnswer,
        "remove": answers.ResultAnswer, "requeue": answers.RequeueAnswer, "get": answers.GetAnswer,
        "cancel": answers.ResultAnswer, "move": answers.ResultAnswer, "end_run": answers.ResultAnswer,
        "explain": answers.ExplainAnswer,
        "watch": answers.WatchAnswer, "events": answers.EventsAnswer, "workers": answers.WorkersAnswer,
        "take": answers.TakeAnswer, "locks": order_answers.LocksAnswer, "submit_group": order_answers.SubmitGroupAnswer,
        "list": answers.ListAnswer, "status": answers.StatusAnswer, "extend": answers.ExtendAnswer,
        "set_schedule": order_answers.SetScheduleAnswer, "remove_schedule": answers.ResultAnswer,
        "pause_schedule": answers.ResultAnswer, "resume_schedule": answers.ResultAnswer,
        "run_schedule": order_answers.RunScheduleAnswer, "next_times": order_answers.NextTimesAnswer,
        "list_schedules": order_answers.ListSchedulesAnswer,
        "remove_matching": answers.MatchingAnswer, "requeue_matching": answers.MatchingAnswer,
        "cancel_matching": answers.MatchingAnswer, "move_matching": answers.MatchingAnswer,
    }  # fmt: skip
    asked: dict[int, str] = {}
    for example in EXAMPLES:
        if example.text.startswith("("):
            continue
        value = value_of(example.text)
        if value[0] == 0 and example.arrow == "->":
            asked[value[1]] = value[2]
        elif value[0] == 1 and example.arrow == "<-" and value[2] is None:
            method = asked[value[1]]
            assert list(value[3]) == (list(get_type_hints(kinds[method])) if method in kinds else []), method


def test_the_errors_are_the_classes() -> None:
    table = {symbol: row[-1] for symbol, row in rows("## 2. Errors", "symbol").items()}
    closing = {symbol: "closes" if issubclass(cls, ClosingError) else "stays" for symbol, cls in ERRORS.items()}
    assert table == closing | {"BUSY": "stays, unless `msgid` is `nil`"}


def test_the_methods_are_the_code_s_in_the_same_order() -> None:
    table = rows("## 5. All messages", "method")
    listed = {method: (row[0], row[-1]) for method, row in table.items() if "**daemon**" not in row[0]}
    assert list(listed) == list(METHODS)
    assert listed == {name: (method.sent_by, method.state) for name, method in METHODS.items()}
    sections = re.findall(r"^### (\w+)$", TEXT.split("## 5. All messages")[1], re.MULTILINE)
    assert sections == list(table)
    assert {row[-1] for row in table.values()} == {"stable", "growing"}


def test_every_message_says_its_errors_and_what_it_does_not_promise() -> None:
    for section in TEXT.split("## 5. All messages")[1].split("## 6.")[0].split("\n### ")[1:]:
        method = section.split("\n")[0]
        if method not in ("unsubscribe", "unsubscribe_all", "perform", "notice", "finish"):
            assert "*Not promised*" in section or method in ("submit_batch", "requeue", "move", "get", "unwait"), method
    for method, symbol in (
        ("list", "BUSY"), ("watch", "BUSY"), ("subscribe", "DRAINING"), ("take", "DRAINING"), ("finish", "LEASE_LOST"),
        ("data", "LEASE_LOST"), ("set_function", "INVALID"),
    ):  # fmt: skip
        assert f"*Errors*: `{symbol}`" in TEXT.split(f"\n### {method}\n")[1].split("\n### ")[0]


@pytest.mark.parametrize(
    ("said", "section", "column"),
    [
        (fields.Hello, "hello", "option"),
        (fields.Job, "submit", "key"),
        (fields.Retry, "submit", "key of `retry`"),
        (fields.RemoveOptions, "remove", "option"),
        (fields.RequeueOptions, "requeue", "option"),
        (fields.CancelOptions, "cancel", "option"),
        (fields.MoveOptions, "move", "option"),
        (fields.EndRunOptions, "end_run", "option"),
        (fields.GetOptions, "get", "option"),
        (fields.WatchOptions, "watch", "option"),
        (fields.ExplainOptions, "explain", "option"),
        (fields.TakeOptions, "take", "option"),
        (fields.ProgressOptions, "progress", "key of a progress"),
        (fields.ListQuery, "list", "key"),
        (fields.EventsQuery, "events", "key"),
        (fields.WorkersQuery, "workers", "key"),
        (fields.StatusQuery, "status", "key"),
        (fields.MatchingQuery, "remove_matching", "key of a query on many"),
        (fields.MatchingOptions, "remove_matching", "option"),
        (fields.CancelMatchingOptions, "cancel_matching", "option"),
        (fields.MoveMatchingOptions, "move_matching", "option"),
        (fields.SubscribeOptions, "subscribe", "option"),
        (fields.Outcome, "perform", "key of an outcome"),
        (fields.ExtendOptions, "extend", "option"),
        (order_fields.FunctionSettings, "set_function", "key"),
        (order_fields.Rate, "set_function", "key of a rate"),
        (order_fields.LockSettings, "set_lock", "key"),
        (fields.LocksQuery, "locks", "key"),
        (order_fields.GroupOptions, "submit_group", "key"),
        (order_fields.ScheduleOptions, "set_schedule", "key"),
        (order_fields.NextTimesOptions, "next_times", "option"),
        (order_fields.SchedulesQuery, "list_schedules", "key"),
    ],
)
def test_what_may_be_said_is_the_types_of_the_code(said: type[Said], section: str, column: str) -> None:
    """Types, ranges, meanings and defaults, word by word."""
    table = rows("", column, section)
    expected = {}
    for each in fields_of(said):
        default = each.notes["default"]
        if isinstance(each.kind, inspect.LiteralType) and default in each.kind.values:
            default = f"`{default}`"
        elif isinstance(default, int):
            default = str(default).lower() if isinstance(default, bool) else f"{default:,}"
        cells = [on_the_page(each.kind, each.notes), each.notes["description"], default]
        expected[each.name] = cells[: len(table.get(each.name, cells))]
        assert expected[each.name] == cells or default == "", "a column for defaults"
    assert table == expected
    assert list(table) == list(expected)


def test_the_params_of_each_method_are_the_types_of_the_code() -> None:
    types = {**vars(order_fields), **vars(fields)}.values()
    params = {re.sub(r"(?<=[a-z])(?=[A-Z])", "_", said.__name__).lower(): said for said in types
              if isinstance(said, type) and issubclass(said, Params)}  # fmt: skip
    params |= dict.fromkeys(("ping", "shutdown", "unsubscribe_all"), fields.Nothing)
    params |= {"hello": fields.HelloParams, "submit_batch": fields.SubmitBatch}
    params |= {"remove_matching": fields.RemoveMatching, "requeue_matching": fields.RequeueMatching}
    for method in METHODS:
        names = [each.name for each in fields_of(params[method])]
        least = sum(each.is_required for each in fields_of(params[method]))
        section = TEXT.split(f"\n### {method}\n")[1].split("\n### ")[0]
        for count in range(least, len(names) + 1):
            if method != "finish":
                assert f"`{method} [{', '.join(names[:count])}]`" in section
        assert f"`{method} [{', '.join(names)}]`" in section


def test_words_are_the_code_s() -> None:
    assert list(rows("", "result", "submit")) == list(get_args(ops.Submitted))
    for literal, section in (
        (ops.Removed, "remove"), (ops.Requeued, "requeue"), (ops.Found, "get"), (ops.Cancelled, "cancel"),
        (ops.Moved, "move"), (ops.Found, "watch"), (ops.Found, "explain"),
    ):  # fmt: skip
        cell = rows("", "key", section)["result"][1]
        assert re.findall(r"`(\w+)`", cell) == list(get_args(literal)), section
    assert re.findall(r"`(\w+)`", rows("", "key of a job", "get")["state"][1]) == [
        "waiting", "running", "behind", "dead", "parked",
    ]  # fmt: skip
    assert set(STATES) == {"waiting", "running", "behind", "dead", "parked"}
    assert list(rows("", "`existing` | if there is a job of this name", "submit")) == list(get_args(ops.Existing))
    assert [each.name for each in fields_of(fields.Retry)] == list(Retry().as_map())
    assert JITTER_PERCENT == {"fixed": 0, "exponential": 10, "quadratic": 0}, "10 if exponential, else 0"


def test_limits_are_the_code_s() -> None:
    defaults, limits = Settings(), Limits()
    for number in (
        defaults.message_bytes, defaults.workload_bytes, limits.values, wire.BATCH_JOBS_MAX, wire.REASON_BYTES_MAX,
        wire.HEADERS_BYTES_MAX, wire.CONNECTION_JOBS_MAX, wire.SUBSCRIPTIONS_MAX, wire.LISTING_MAX, COUNT_LOOKS,
        FUNCTIONS_MAX, wire.FUNCTIONS_SET_MAX, wire.LOCKS_SET_MAX, wire.MATCHED_MAX, wire.TIME_MS_MAX,
    ):  # fmt: skip
        assert f"{number:,}" in TEXT
    assert f"pages of `list` being made at once | {LISTINGS_MAX} |" in TEXT
    assert f"headers of a job | {wire.HEADERS_MAX}," in TEXT
    assert f"a job with {CRASHES_MAX} crashes is dead" in TEXT
    assert f"cut off by {RESTARTS_MAX} restarts" in TEXT
    assert f"waits {defaults.restart_grace_ms // 1000} s for its worker" in TEXT
    deep = msgpack.packb([0, 1, "x", []])[:-1] + b"\x91" * 1022 + b"\x90"
    assert len(list(Decoder().feed(deep))) == 1, "1,024 deep"
    with pytest.raises(ClosingError):
        list(Decoder().feed(deep[:-1] + b"\x91\x90"))
