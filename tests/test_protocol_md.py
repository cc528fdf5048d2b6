"""protocol.md is the judge: its examples are executed, its tables compared with the code."""

import re
from pathlib import Path
from typing import Any, get_args

import msgpack
import pytest

from periodic_client.wire import (
    ERRORS,
    ClosingError,
    Decoder,
    Invalid,
    Limits,
    Message,
    Notification,
    Request,
    Response,
    codec,
)
from periodicd import ops, requests
from periodicd.job import CRASHES_MAX, REASON_BYTES_MAX, STATES
from periodicd.requests import METHODS, Rules
from periodicd.retry import Retry
from periodicd.scheduler import Settings

TEXT = (Path(__file__).parent.parent / "protocol.md").read_text()
RULES = Rules(1_700_000_000_000, 16 * 1024 * 1024)


def examples() -> list[tuple[str, str, bytes]]:
    """(direction, text, bytes) of every example."""
    found = re.findall(r"^(->|<-) (\[.*\])\n((?:   [0-9a-f]+\n)+)", TEXT, re.MULTILINE)
    return [(arrow, text, bytes.fromhex("".join(packed.split()))) for arrow, text, packed in found]


def value_of(text: str) -> Any:
    return eval(text, {"__builtins__": {}}, {"nil": None, "true": True, "false": False})  # noqa: S307


def encode(message: Message) -> bytes:
    match message:
        case Request(msgid, method, params):
            return codec.encode_request(msgid, method, params)
        case Response(msgid, None, result):
            assert msgid is not None
            return codec.encode_response(msgid, result)
        case Response(msgid, str(error), _):
            return codec.encode_error(msgid, error)
        case Notification(method, params):
            return codec.encode_notification(method, params)
    raise AssertionError(message)


def test_every_method_has_an_example() -> None:
    shown = {value_of(text)[2] for _, text, _ in examples() if value_of(text)[0] == 0}
    assert shown == {*METHODS, "perform"}


@pytest.mark.parametrize(("arrow", "text", "packed"), examples(), ids=[text[:60] for _, text, _ in examples()])
def test_example(arrow: str, text: str, packed: bytes) -> None:
    value = value_of(text)
    (message,) = Decoder().feed(packed)
    assert [{Request: 0, Response: 1, Notification: 2}[type(message)], *message] == value
    assert encode(message) == packed == msgpack.packb(value)
    if isinstance(message, Request) and arrow == "->" and "INVALID" not in TEXT.split(text)[1].split("\n")[2]:
        METHODS[message.method](message.params, RULES)


def test_a_refused_example_is_refused_with_the_error_shown() -> None:
    with pytest.raises(Invalid) as refused:
        METHODS["submit"]([{"func": "resize", "name": "c.jpg", "due": 1}], RULES)
    assert f'"{refused.value.to_wire()}"' in TEXT


def table_after(heading: str) -> list[list[str]]:
    part = TEXT.split(heading, 1)[1]
    rows = re.search(r"\n\|.*?\n\n", part, re.DOTALL)
    assert rows is not None
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in rows.group().strip().split("\n")]
    return cells[2:]


def test_the_errors_are_the_classes() -> None:
    rows = {row[0].strip("`| "): row[-1].strip("| ") for row in table_after("## 2. Errors")}
    closing = {symbol: "closes" if issubclass(cls, ClosingError) else "stays" for symbol, cls in ERRORS.items()}
    assert rows == closing | {"BUSY": "stays, unless `msgid` is `nil`"}


def test_the_methods_are_the_code_s_in_the_same_order() -> None:
    rows = table_after("## 5. All messages")
    listed = [row[0].strip("`| ") for row in rows if "**daemon**" not in row[1]]
    assert listed == list(METHODS)
    sections = re.findall(r"^### (\w+)$", TEXT.split("## 5. All messages")[1], re.MULTILINE)
    assert sections == [row[0].strip("`| ") for row in rows]


def keys_of(heading: str, column: str) -> list[str]:
    part = TEXT.split(heading, 1)[1]
    rows = part.split(f"| {column} |", 1)[1].split("\n\n")[0]
    return re.findall(r"^\| `\"?(\w+)\"?`", rows, re.MULTILINE)


def test_keys_words_and_limits_are_the_code_s() -> None:
    assert keys_of("### submit", "key") == list(requests._JOB_KEYS)
    assert keys_of("### submit", "key of `retry`") == list(requests._RETRY_KEYS) == list(Retry().as_map())
    assert keys_of("### perform", "key of an outcome") == list(requests._ALL_OUTCOME_KEYS)
    assert keys_of("### hello", "key") == list(requests._HELLO_KEYS)
    assert set(keys_of("The result for one job is its outcome", "outcome")) == set(get_args(ops.Submitted))
    for word in STATES:
        assert f'`"{word}"`' in TEXT
    defaults = Settings()
    for number in (
        defaults.message_bytes, defaults.workload_bytes, Limits().values, requests.BATCH_JOBS_MAX, REASON_BYTES_MAX,
    ):  # fmt: skip
        assert f"{number:,}" in TEXT
    assert f"a job with {CRASHES_MAX} crashes is dead" in TEXT
    assert Limits().array_length == requests.BATCH_JOBS_MAX
