"""Jobs and outcomes as they go over the wire, and what becomes of whatever a function returns or raises."""

from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from periodic_client import Done, Failed, GiveUp, Later, NewJob, Retry, ScheduledJob
from periodic_client.outcomes import WrongValue, failure_of, outcome_to_wire
from periodic_client.wire import Decoder, encode_request


def test_a_job_leaves_out_what_is_default() -> None:
    assert NewJob("f", "n").to_wire() == {"func": "f", "name": "n"}


def test_a_job_says_all_that_is_not_default() -> None:
    retry = Retry(limit=3, backoff="quadratic", delay_ms=1, cap_ms=2, jitter_percent=50)
    headers = MappingProxyType({"content-type": "image/jpeg"})
    job = NewJob(
        "f", "n", b"w", headers=headers, locks=MappingProxyType({"k": 2}), due_at_ms=0, priority=-1, lease_ms=1000,
        retry=retry, existing="keep_live", join_group=True,
    )  # fmt: skip
    assert job.to_wire() == {
        "func": "f",
        "name": "n",
        "workload": b"w",
        "headers": {"content-type": "image/jpeg"},
        "locks": {"k": 2},
        "due_at_ms": 0,
        "priority": -1,
        "lease_ms": 1000,
        "retry": {"limit": 3, "backoff": "quadratic", "delay_ms": 1, "cap_ms": 2, "jitter_percent": 50},
        "existing": "keep_live",
        "join_group": True,
    }
    assert "jitter_percent" not in NewJob("f", "n", retry=Retry()).to_wire()["retry"], "left to the daemon"
    next(Decoder().feed(encode_request(1, "submit", [job.to_wire()])))
    assert NewJob("f", "n", "text", delay_ms=0).to_wire() == {
        "func": "f",
        "name": "n",
        "workload": "text",
        "delay_ms": 0,
    }


def test_a_job_has_one_due_time() -> None:
    with pytest.raises(ValueError, match="due_at_ms and delay_ms"):
        NewJob("f", "n", due_at_ms=1, delay_ms=1)


def test_the_job_of_a_schedule_says_the_same_without_name_and_due_time() -> None:
    assert ScheduledJob("f").to_wire() == {"func": "f"}
    said: dict[str, Any] = {"headers": {"a": "b"}, "locks": {"k": 2}, "priority": 1, "lease_ms": 2, "run_max_ms": 3,
                            "result_ms": 4, "retry": Retry(limit=3)}  # fmt: skip
    wire = NewJob("f", "n", b"w", **said).to_wire()
    del wire["name"]
    assert ScheduledJob("f", b"w", **said).to_wire() == wire
    assert len(wire) == len(said) + 2


JOB = NewJob("g", "m")
JOB_WIRE = {"func": "g", "name": "m"}


@pytest.mark.parametrize(
    ("returned", "wire"),
    [
        (None, None),
        (b"x", b"x"),
        ("ä", {"outcome": "done", "data": "ä"}),
        (Done(), {"outcome": "done"}),
        (Done(b"x", [JOB]), {"outcome": "done", "data": b"x", "submit": [JOB_WIRE]}),
        (Failed("why"), {"outcome": "failed", "reason": "why"}),
        (
            Failed("why", final=True, delay_ms=0, submit=(JOB,)),
            {"outcome": "failed", "reason": "why", "final": True, "delay_ms": 0, "submit": [JOB_WIRE]},
        ),
        (Later(), {"outcome": "later"}),
        (Later(locks={"k": 2}), {"outcome": "later", "locks": {"k": 2}}),
        (Later(locks={}), {"outcome": "later", "locks": {}}),
        (Later(5, [JOB]), {"outcome": "later", "delay_ms": 5, "submit": [JOB_WIRE]}),
        (Done(submit=[JOB], then=JOB), {"outcome": "done", "submit": [JOB_WIRE], "then": JOB_WIRE}),
        (Failed("why", then=JOB), {"outcome": "failed", "reason": "why", "then": JOB_WIRE}),
        (Later(then=JOB), {"outcome": "later", "then": JOB_WIRE}),
    ],
)
def test_outcomes(returned: object, wire: object) -> None:
    assert outcome_to_wire(returned, "f") == wire


@pytest.mark.parametrize("returned", [True, 0, {"a": 1}, [], bytearray(b"x"), object(), Done])
def test_anything_else_is_wrong_and_named_with_function_and_type(returned: object) -> None:
    with pytest.raises(WrongValue, match=f"resize returned {type(returned).__name__};"):
        outcome_to_wire(returned, "resize")


class Untellable(Exception):
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    ("error", "failed"),
    [
        (ValueError("bad"), Failed("ValueError: bad")),
        (GiveUp("hopeless"), Failed("hopeless", final=True)),
        (WrongValue("a text, not int"), Failed("a text, not int", final=True)),
        (ExceptionGroup("", [ExceptionGroup("", [GiveUp("deep")])]), Failed("deep", final=True)),
        (Untellable(), Failed("Untellable: (the error's text cannot be shown)")),
    ],
)
def test_errors(error: Exception, failed: Failed) -> None:
    assert failure_of(error) == failed


def test_several_errors_stay_a_group() -> None:
    failed = failure_of(ExceptionGroup("two", [GiveUp("a"), ValueError("b")]))
    assert failed == Failed("ExceptionGroup: two (2 sub-exceptions)")


@given(st.text(st.characters() | st.sampled_from("\udc80\udcffä"), max_size=1500))
@example("\udcff")
@example("ä" * 501)
@example("xä" * 501)
def test_any_reason_can_be_sent(reason: str) -> None:
    """Names of files that are not UTF-8 come as surrogates, which have no UTF-8; and a cut may fall within a letter."""
    sent = Failed(reason).to_wire()["reason"]
    assert len(sent.encode()) <= 1000
    next(Decoder().feed(encode_request(1, "finish", ["h", sent])))
