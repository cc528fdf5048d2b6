"""protocol.md is the judge: it is played against the engine, its tables are compared with the code."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import msgpack
import pytest

from bench.daemon import Daemon
from periodic_client.wire import ERRORS, ClosingError, Decoder, Invalid, Limits
from periodicd import answers, ops, requests
from periodicd.job import CRASHES_MAX, REASON_BYTES_MAX, RESTARTS_MAX, STATES
from periodicd.peers import CONNECTION_JOBS_MAX
from periodicd.requests import METHODS
from periodicd.retry import BACKOFFS, JITTER_PERCENT, Retry
from periodicd.scheduler import LATENESS_MAX, LISTINGS_MAX, SUBSCRIPTIONS_MAX, Settings
from periodicd.store.sqlite import COUNT_LOOKS
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
        (answers.RemoveAnswer, "remove", "key"),
        (answers.RequeueAnswer, "requeue", "key"),
        (answers.GetAnswer, "get", "key"),
        (answers.JobAnswer, "get", "key of a job"),
        (answers.ListAnswer, "list", "key | type | meaning"),
        (answers.StatusAnswer, "status", "key | type | meaning"),
        (answers.FunctionAnswer, "status", "key of a function"),
        (answers.PerformedJob, "perform", "key of a performed job"),
        (answers.ExtendAnswer, "extend", "key"),
    ],
)
def test_the_answers_are_the_types_of_the_code(answer: Any, section: str, column: str) -> None:
    heading = "The answer:" if section == "submit" else "The query" if section in ("list", "status") else ""
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
        "remove": answers.RemoveAnswer, "requeue": answers.RequeueAnswer, "get": answers.GetAnswer,
        "list": answers.ListAnswer, "status": answers.StatusAnswer, "extend": answers.ExtendAnswer,
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
    listed = [method for method, row in table.items() if "**daemon**" not in row[0]]
    assert listed == list(METHODS)
    sections = re.findall(r"^### (\w+)$", TEXT.split("## 5. All messages")[1], re.MULTILINE)
    assert sections == list(table)
    assert {row[-1] for row in table.values()} == {"stable", "growing"}


def test_every_message_says_its_errors_and_what_it_does_not_promise() -> None:
    for section in TEXT.split("## 5. All messages")[1].split("## 6.")[0].split("\n### ")[1:]:
        method = section.split("\n")[0]
        if method not in ("unsubscribe", "unsubscribe_all", "perform", "notice", "finish"):
            assert "*Not promised*" in section or method in ("submit_batch", "requeue", "get"), method
    for method, symbol in (("list", "BUSY"), ("subscribe", "DRAINING"), ("finish", "LEASE_LOST")):
        assert f"*Errors*: `{symbol}`" in TEXT.split(f"\n### {method}\n")[1].split("\n### ")[0]


def test_keys_of_requests_are_the_code_s() -> None:
    assert list(rows("", "key", "submit")) == list(requests._JOB_KEYS)
    assert list(rows("", "key of `retry`", "submit")) == list(requests._RETRY_KEYS) == list(Retry().as_map())
    assert list(rows("", "`existing` | if there is a job of this name", "submit")) == list(requests.EXISTING)
    assert list(rows("", "key of an outcome", "perform")) == list(requests._OUTCOME_KEYS)
    assert list(rows("", "option", "hello")) == list(requests._HELLO_KEYS)
    assert list(rows("", "key", "list")) == list(requests._LISTING_KEYS)
    assert list(rows("", "key", "status")) == list(requests._STATUS_KEYS)
    for method, options in (("get", ["id", "workload"]), ("remove", ["id"]), ("requeue", ["id"]),
                            ("subscribe", ["limit"]), ("extend", ["lease_ms", "own"])):  # fmt: skip
        assert list(rows("", "option", method)) == options


def test_words_are_the_code_s() -> None:
    assert list(rows("", "result", "submit")) == list(get_args(ops.Submitted))
    for literal, section in ((ops.Removed, "remove"), (ops.Requeued, "requeue"), (ops.Found, "get")):
        cell = rows("", "key", section)["result"][1]
        assert re.findall(r"`(\w+)`", cell) == list(get_args(literal)), section
    assert re.findall(r"`(\w+)`", rows("", "key of a job", "get")["state"][1]) == [
        "waiting", "running", "behind", "dead",
    ]  # fmt: skip
    assert set(STATES) == {"waiting", "running", "behind", "dead"}
    assert re.findall(r"`(\w+)`", rows("", "key of `retry`", "submit")["backoff"][0]) == list(BACKOFFS)
    assert re.findall(r"`(\w+)`", rows("", "key of an outcome", "perform")["outcome"][0]) == list(requests.OUTCOMES)


JOB = {"func": "f", "name": "n"}
RANGES: list[tuple[str, str, str, Callable[[str, int], list[Any]]]] = [
    ("submit", "key", "due_at_ms", lambda key, value: [JOB | {key: value}]),
    ("submit", "key", "priority", lambda key, value: [JOB | {key: value}]),
    ("submit", "key", "lease_ms", lambda key, value: [JOB | {key: value}]),
    *(
        ("submit", "key of `retry`", key, lambda key, value: [JOB | {"retry": {key: value}}])
        for key in ("limit", "delay_ms", "cap_ms", "jitter_percent")
    ),
    *(
        ("hello", "option", key, lambda key, value: [{key: value}])
        for key in ("credit", "disconnect_grace_ms", "silence_ms")
    ),
    ("list", "key", "limit", lambda key, value: [{key: value}]),
    ("status", "key", "limit", lambda key, value: [{key: value}]),
    ("subscribe", "option", "limit", lambda key, value: ["f", {key: value}]),
    ("extend", "option", "lease_ms", lambda key, value: ["handle", {key: value}]),
]


@pytest.mark.parametrize(("method", "column", "key", "params"), RANGES, ids=[f"{row[0]}-{row[2]}" for row in RANGES])
def test_ranges_are_the_code_s(method: str, column: str, key: str, params: Callable[[str, int], list[Any]]) -> None:
    cell = rows("", column, method)[key][0]
    found = re.fullmatch(r"integer, (-?[\d,]+) to ([\d,]+)", cell)
    assert found is not None, cell
    low, high = (int(number.replace(",", "")) for number in found.groups())
    rules = requests.Rules(0, 10**6)
    for value in (low, high):
        METHODS[method](params(key, value), rules)
    for value in (low - 1, high + 1):
        with pytest.raises(Invalid, match=f"from {low} to {high}, not {value}"):
            METHODS[method](params(key, value), rules)


def test_defaults_are_the_code_s() -> None:
    (submission,) = METHODS["submit"]([{"func": "f", "name": "n"}], requests.Rules(7, 1))
    job = rows("", "key", "submit")
    for key in ("priority", "lease_ms"):
        assert int(job[key][-1].replace(",", "")) == getattr(submission.job, key)
    assert job["existing"][-1] == f"`{submission.existing}`"
    retry = rows("", "key of `retry`", "submit")
    for key, default in submission.job.retry.as_map().items():
        if key != "jitter_percent":
            assert retry[key][-1].replace(",", "").strip("`") == str(default)
    assert JITTER_PERCENT == {"fixed": 0, "exponential": 10, "quadratic": 0}
    assert retry["jitter_percent"][-1] == "10 if exponential, else 0"
    for backoff, jitter_percent in JITTER_PERCENT.items():
        (submission,) = METHODS["submit"]([JOB | {"retry": {"backoff": backoff}}], requests.Rules(7, 1))
        assert submission.job.retry.jitter_percent == jitter_percent
    assert METHODS["subscribe"](["f"], requests.Rules(7, 1)) == ("f", int(rows("", "option", "subscribe")["limit"][-1]))
    assert METHODS["list"]([], requests.Rules(7, 1))[0].limit == int(rows("", "key", "list")["limit"][-1])


def test_limits_are_the_code_s() -> None:
    defaults, limits = Settings(), Limits()
    for number in (
        defaults.message_bytes, defaults.workload_bytes, limits.values, requests.BATCH_JOBS_MAX, REASON_BYTES_MAX,
        requests.HEADERS_BYTES_MAX, CONNECTION_JOBS_MAX, SUBSCRIPTIONS_MAX, requests.LISTING_MAX, COUNT_LOOKS,
        LATENESS_MAX, requests.TIME_MS_MAX,
    ):  # fmt: skip
        assert f"{number:,}" in TEXT
    assert f"pages of `list` being made at once | {LISTINGS_MAX} |" in TEXT
    assert f"headers of a job | {requests.HEADERS_MAX}," in TEXT
    assert f"a job with {CRASHES_MAX} crashes is dead" in TEXT
    assert f"cut off by {RESTARTS_MAX} restarts" in TEXT
    assert f"waits {defaults.restart_grace_ms // 1000} s for its worker" in TEXT
    deep = msgpack.packb([0, 1, "x", []])[:-1] + b"\x91" * 1022 + b"\x90"
    assert len(list(Decoder().feed(deep))) == 1, "1,024 deep"
    with pytest.raises(ClosingError):
        list(Decoder().feed(deep[:-1] + b"\x91\x90"))
