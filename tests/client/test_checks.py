"""What is checked where a function returns: what the daemon would refuse, held against the daemon's own check."""

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from periodic_client import Done, Failed, Later, NewJob, Retry
from periodic_client.checks import Rules, check_outcome
from periodic_client.outcomes import WrongValue, outcome_to_wire
from periodic_client.wire import BadMessage, Decoder, Invalid, Response, encode_response
from periodicd.protocol import requests

RULES = Rules(workload_bytes_max=1000, now_ms=1_700_000_000_000)


def checked(returned: object) -> Any:
    wire = outcome_to_wire(returned, "f")
    check_outcome(wire, RULES)
    return wire


def wrong(*arguments: Any, **fields: Any) -> Any:
    """A follow-on job that no type checker would let pass."""
    return Done(submit=[NewJob(*arguments, **fields)])


HOPELESS: list[tuple[Any, str]] = [
    (3, "f returned int; a function returns None, bytes, str, Done, Failed or Later"),
    (bytes(1001), "outcome has 1,001 bytes, and may have 1,000"),
    ("ä" * 501, "outcome.data has 1,002 bytes"),
    ("\udcff", "outcome.data is text that has no UTF-8"),
    (Done(3), "outcome.data is bytes or text, not int"),  # type: ignore[arg-type]
    (Failed(ValueError("x")), "outcome.reason is a text, not ValueError"),  # type: ignore[arg-type]
    (Failed("x", delay_ms=-1), "outcome.delay_ms is an integer from 0 to"),
    (Later(1500.0), "outcome.delay_ms is an integer, not float"),  # type: ignore[arg-type]
    (Later(True), "outcome.delay_ms is an integer, not bool"),
    (Later(2**70), "outcome.delay_ms is an integer from 0 to"),
    (Later(submit=[NewJob("g", "n"), NewJob("g", "")]), r"outcome.submit\[1\].name is empty"),
    (Done(submit=[{"func": "g", "name": "n"}]), "submit takes a list or tuple of NewJob"),  # type: ignore[list-item]
    (Done(submit=NewJob("g", "n")), "submit takes a list or tuple of NewJob"),  # type: ignore[arg-type]
    (Done(submit=[NewJob("g", "n")] * 1001), "submit has 1,001 jobs, and may have 1,000"),
    (wrong("g" * 256, "n"), "func has 256 bytes, and may have 255"),
    (wrong(b"g", "n"), "func is a text, not bytes"),
    (wrong("g", None), "name is a text, not NoneType"),
    (wrong("g", "\udcff"), "name is text that has no UTF-8"),
    (wrong("g", "n", bytes(1001)), "workload has 1,001 bytes"),
    (wrong("g", "n", [1]), "workload is bytes or text, not list"),
    (wrong("g", "n", due_at_ms=1.5), "due_at_ms is an integer, not float"),
    (wrong("g", "n", due_at_ms=2**53), "due_at_ms is an integer from 0 to"),
    (wrong("g", "n", delay_ms=253_402_300_799_999), "delay_ms is an integer from 0 to"),
    (wrong("g", "n", priority=101), "priority is an integer from -100 to 100, not 101"),
    (wrong("g", "n", lease_ms=999), "lease_ms is an integer from 1,000 to 86,400,000, not 999"),
    (wrong("g", "n", existing="ignore"), "existing is one of replace, keep, keep_live, refuse, not 'ignore'"),
    (wrong("g", "n", headers={"a": 1}), r"headers\['a'\] is a text, not int"),
    (wrong("g", "n", headers={1: "a"}), "headers has a name that is int"),
    (wrong("g", "n", headers={str(i): "" for i in range(65)}), "headers has 65 entries, and may have 64"),
    (wrong("g", "n", headers={"a": "ä" * 2048}), "headers has 4,097 bytes of names and values, and may have 4,096"),
    (wrong("g", "n", locks={"a": 0}), r"locks\['a'\] is an integer from 1 to 1,000,000, not 0"),
    (wrong("g", "n", locks={"a": None}), r"locks\['a'\] is an integer, not NoneType"),
    (wrong("g", "n", locks={1: 1}), "locks has a name that is int"),
    (wrong("g", "n", locks={"": 1}), "locks: '' is empty"),
    (wrong("g", "n", locks={"ä" * 128: 1}), "has 256 bytes, and may have 255"),
    (wrong("g", "n", locks={str(i): 1 for i in range(9)}), "locks has 9 entries, and may have 8"),
    (wrong("g", "n", locks=3), "f returned a Done that cannot be sent: TypeError"),
    (Later(locks={"a": 1_000_001}), r"outcome.locks\['a'\] is an integer from 1 to 1,000,000, not 1,000,001"),
    (wrong("g", "n", headers=3), "f returned a Done that cannot be sent: TypeError"),
    (wrong("g", "n", retry={"limit": 1}), "f returned a Done that cannot be sent: AttributeError"),
    (wrong("g", "n", retry=Retry(limit=1001)), "retry.limit is an integer from 0 to 1,000, not 1,001"),
    (wrong("g", "n", retry=Retry(backoff="slow")), "retry.backoff is one of fixed, exponential, quadratic"),  # type: ignore[arg-type]
    (wrong("g", "n", retry=Retry(delay_ms=1.0)), "retry.delay_ms is an integer"),  # type: ignore[arg-type]
    (wrong("g", "n", retry=Retry(cap_ms=-1)), "retry.cap_ms is an integer from 0"),
    (wrong("g", "n", retry=Retry(jitter_percent=101)), "retry.jitter_percent is an integer from 0 to 100"),
    (wrong("g", "n", join_group=1), r"outcome.submit\[0\].join_group is a boolean, not int"),
    (wrong("g", "n", broadcast=1), r"outcome.submit\[0\].broadcast is a boolean, not int"),
    (wrong("g", "n", broadcast=True, locks={"k": 1}), r"outcome.submit\[0\].locks is not for a broadcast"),
    (wrong("g", "n", broadcast=True, retry=Retry()), r"outcome.submit\[0\].retry is not for a broadcast"),
    (wrong("g", "n", due_at_ms=5, expires_at_ms=5), r"outcome.submit\[0\].expires_at_ms is not after due_at_ms"),
    (Done(then=NewJob("g", "")), "outcome.then.name is empty"),
    (Failed("x", then={"func": "g", "name": "n"}), "then takes a NewJob"),  # type: ignore[arg-type]
    (
        Later(submit=[NewJob("g", "a"), NewJob("g", "n")], then=NewJob("g", "n")),
        r"outcome.submit\[1\] has the name of the group's own job, `then`",
    ),
]


@pytest.mark.parametrize(("returned", "complaint"), HOPELESS, ids=[complaint for _, complaint in HOPELESS])
def test_what_the_daemon_would_refuse_is_found_here(returned: object, complaint: str) -> None:
    with pytest.raises(WrongValue, match=complaint):
        checked(returned)


NUMBERS = st.sampled_from(
    [None, True, -1, 0, 1, 1.0, 99, 100, 101, 999, 1000, 1001, 86_400_000, 86_400_001, 2_592_000_000, 2_592_000_001,
     251_702_300_799_999, 251_702_300_800_000, 253_402_300_799_999, 253_402_300_800_000, 2**53, 2**64, "1"]
)  # fmt: skip
TEXTS = st.sampled_from([None, "", "x", "x" * 255, "x" * 256, "ä" * 127, "ä" * 128, "\udcff", b"x", 1])
DATA = st.sampled_from([b"", b"x", "x", bytes(1000), bytes(1001), "ä" * 500, "ä" * 501, "\udcff", None, 1, ["x"]])
RETRIES = st.none() | st.builds(
    Retry, limit=NUMBERS, backoff=st.sampled_from(["fixed", "quadratic", "none", None]), delay_ms=NUMBERS,
    cap_ms=NUMBERS, jitter_percent=NUMBERS,
)  # fmt: skip
HEADERS = st.none() | st.dictionaries(TEXTS, TEXTS, max_size=3) | st.sampled_from(
    [{str(i): "" for i in range(64)}, {str(i): "" for i in range(65)}, {"a": "x" * 4095}, {"a": "x" * 4096}]
)  # fmt: skip
LOCKS = st.none() | st.dictionaries(st.just("k") | TEXTS, st.just(1) | NUMBERS, max_size=3) | st.sampled_from(
    [{"k": 1_000_000}, {"k": 1_000_001}, {str(i): 1 for i in range(8)}, {str(i): 1 for i in range(9)}]
)  # fmt: skip
JOBS = st.builds(
    NewJob, func=st.just("g") | TEXTS, name=st.just("n") | TEXTS, workload=DATA, headers=HEADERS, locks=LOCKS,
    due_at_ms=NUMBERS, priority=NUMBERS, lease_ms=NUMBERS, retry=RETRIES, expires_at_ms=NUMBERS,
    broadcast=st.sampled_from([False, False, True, None, 1]),
    existing=st.sampled_from(["replace", "keep", "never", None]), join_group=st.sampled_from([False, True, None, 0, 1]),
) | st.builds(NewJob, func=st.just("g"), name=st.just("n"), delay_ms=NUMBERS)  # fmt: skip
SUBMIT = st.lists(JOBS, max_size=2)
THEN = st.none() | JOBS
OUTCOMES = (
    DATA
    | st.builds(Done, data=DATA, submit=SUBMIT, then=THEN)
    | st.builds(Failed, reason=TEXTS, final=st.booleans() | NUMBERS, delay_ms=NUMBERS, submit=SUBMIT, then=THEN)
    | st.builds(Later, delay_ms=NUMBERS, submit=SUBMIT, locks=LOCKS, then=THEN)
)


@given(OUTCOMES)
@example(Done(b"x", [NewJob("g", "n", priority=100)]))
def test_the_daemon_takes_what_passes_and_nothing_else(returned: object) -> None:
    """What this side drops because it is the default is not looked at there; so the wire is compared, not the value."""
    try:
        wire = outcome_to_wire(returned, "f")
    except WrongValue:
        return
    try:
        check_outcome(wire, RULES)
    except WrongValue as error:
        said = str(error)
    else:
        said = ""
    assert bool(said) == (not daemon_takes(wire)), (wire, said)


def daemon_takes(wire: Any) -> bool:
    try:
        packed = encode_response(1, wire)
    except (ValueError, OverflowError, TypeError):
        return False
    try:
        (message,) = Decoder().feed(packed)
        assert isinstance(message, Response)
        requests.outcome(message.result, requests.Rules(RULES.now_ms, RULES.workload_bytes_max))
    except (Invalid, BadMessage):
        return False
    return True
