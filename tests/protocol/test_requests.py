"""Params as a peer may send them: what they stand for, and how each kind of mistake is told to whoever made it."""

from typing import Any

import msgpack
import pytest

from periodic_client.wire import Invalid
from periodic_client.words import fields_of
from periodicd.job import State
from periodicd.methods import METHODS
from periodicd.protocol import fields, requests
from periodicd.store.ops import Get, Listing, Place

NOW_MS = 1_700_000_000_000
RULES = requests.Rules(NOW_MS, workload_bytes_max=1000)
JOB = {"func": "f", "name": "a"}
EXTENSION = msgpack.ExtType(7, b"x")


def refusal(method: str, *params: Any) -> str:
    with pytest.raises(Invalid) as error:
        METHODS[method].check(list(params), RULES)
    return error.value.to_wire()


def said(method: str, *params: Any) -> str:
    """The refusal, or nothing."""
    try:
        METHODS[method].check(list(params), RULES)
    except Invalid as error:
        return error.to_wire()
    return ""


def at(path: str, what: str) -> str:
    """A refusal that names ``path``, for people and for programs."""
    return f"INVALID path={path}: {path} {what}"


# -- how many ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "least", "most", "form"),
    [
        ("hello", 0, 1, "[] or [options]"),
        ("ping", 0, 0, "[]"),
        ("submit", 1, 1, "[job]"),
        ("submit_batch", 1, 1, "[[job, job, ...]]"),
        ("remove", 2, 3, "[func, name] or [func, name, options]"),
        ("requeue", 2, 3, "[func, name] or [func, name, options]"),
        ("get", 2, 3, "[func, name] or [func, name, options]"),
        ("cancel", 2, 3, "[func, name] or [func, name, options]"),
        ("move", 3, 3, "[func, name, options]"),
        ("end_run", 2, 3, "[func, name] or [func, name, options]"),
        ("watch", 2, 3, "[func, name] or [func, name, options]"),
        ("unwait", 1, 1, "[msgid]"),
        ("list", 0, 1, "[] or [query]"),
        ("events", 0, 1, "[] or [query]"),
        ("workers", 0, 1, "[] or [query]"),
        ("status", 0, 1, "[] or [query]"),
        ("remove_matching", 1, 2, "[query] or [query, options]"),
        ("requeue_matching", 1, 2, "[query] or [query, options]"),
        ("cancel_matching", 1, 2, "[query] or [query, options]"),
        ("move_matching", 2, 2, "[query, options]"),
        ("shutdown", 0, 0, "[]"),
        ("subscribe", 1, 2, "[func] or [func, options]"),
        ("unsubscribe", 1, 1, "[func]; for all functions there is unsubscribe_all"),
        ("unsubscribe_all", 0, 0, "[]"),
        ("take", 1, 1, "[options]"),
        ("finish", 1, 2, "[handle] or [handle, outcome]"),
        ("data", 2, 2, "[handle, data]"),
        ("progress", 2, 2, "[handle, progress]"),
        ("extend", 1, 2, "[handle] or [handle, options]"),
    ],
)
def test_the_wrong_number_of_params_is_told_with_their_form(method: str, least: int, most: int, form: str) -> None:
    for count in (least - 1, most + 1):
        if count >= 0:
            assert refusal(method, *["x"] * count) == f"INVALID: the params are {form}; {count} were given"


def test_nil_at_the_end_is_what_was_left_out() -> None:
    for params in (["f", "n"], ["f", "n", None], ["f", "n", None, None]):
        assert METHODS["get"].check(params, RULES) == (Get("f", "n", None, False, NOW_MS),)
    assert METHODS["ping"].check([None], RULES) == ()
    assert METHODS["list"].check([None, None], RULES) == METHODS["list"].check([], RULES)
    assert METHODS["finish"].check(["1-1-1"], RULES) == ("1-1-1", requests.DONE)
    assert refusal("get", "f", None) == at("name", "is missing")
    assert refusal("get", None, "n") == at("func", "is missing")
    assert refusal("submit", None) == at("job", "is a map, not nil")


# -- kinds of values ---------------------------------------------------------------------------------------------------

KINDS = {
    "nil": None, "a text": "x", "bytes": b"x", "an array": [], "a map": {}, "a boolean": True, "an integer": 7,
    "a float": 1.0, "an extension value": EXTENSION,
}  # fmt: skip
TIMES_MAX = 253_402_300_799_999
AT_LEAST_0 = "an integer from 0 to 253,402,300,799,999"
MISSING = {"job.func", "name", "func", "handle", "outcome.outcome"}
"""Where nil is told to be missing."""
NIL_IS_WRONG = {"job", "job.headers.a", "jobs", "jobs[1]", "options.features[1]"}
"""Where nil is a value like any other; anywhere else it is what was left out."""


def kinds_taken(path: str, form: str) -> set[str]:
    """The kinds of which a value may be right there."""
    if path == "outcome":
        return {"nil", "a text", "bytes", "a map"}
    taken = {
        "bytes": {"bytes", "a text"}, "true or false": {"a boolean"}, "a map of text to text": {"a map"},
        "an array of jobs": {"an array"}, "an array of texts": {"an array"},
    }.get(form, {"a text"} if form.startswith("one of") else {form.partition(" from")[0]})  # fmt: skip
    return taken | (set() if path in MISSING | NIL_IS_WRONG else {"nil"})


@pytest.mark.parametrize(
    ("method", "path", "params", "form"),
    [
        ("submit", "job", lambda value: [value], "a map"),
        ("submit", "job.func", lambda value: [JOB | {"func": value}], "a text"),
        ("submit", "job.workload", lambda value: [JOB | {"workload": value}], "bytes"),
        ("submit", "job.headers", lambda value: [JOB | {"headers": value}], "a map of text to text"),
        ("submit", "job.headers.a", lambda value: [JOB | {"headers": {"b": "", "a": value}}], "a text"),
        ("submit", "job.due_at_ms", lambda value: [JOB | {"due_at_ms": value}], AT_LEAST_0),
        ("submit", "job.delay_ms", lambda value: [JOB | {"delay_ms": value}], AT_LEAST_0),
        ("submit", "job.priority", lambda value: [JOB | {"priority": value}], "an integer from -100 to 100"),
        ("submit", "job.lease_ms", lambda value: [JOB | {"lease_ms": value}], "an integer from 1,000 to 86,400,000"),
        ("submit", "job.retry", lambda value: [JOB | {"retry": value}], "a map"),
        ("submit", "job.retry.limit", lambda value: [JOB | {"retry": {"limit": value}}], "an integer from 0 to 1,000"),
        (
            "submit", "job.retry.backoff", lambda value: [JOB | {"retry": {"backoff": value}}],
            "one of fixed, exponential, quadratic",
        ),
        (
            "submit", "job.existing", lambda value: [JOB | {"existing": value}],
            "one of replace, keep, keep_live, refuse",
        ),
        ("submit_batch", "jobs", lambda value: [value], "an array of jobs"),
        ("submit_batch", "jobs[1]", lambda value: [[JOB, value]], "a map"),
        (
            "submit_batch", "jobs[1].retry.cap_ms", lambda value: [[JOB, JOB | {"retry": {"cap_ms": value}}]],
            "an integer from 0 to 2,592,000,000",
        ),
        ("remove", "name", lambda value: ["f", value], "a text"),
        ("remove", "options", lambda value: ["f", "a", value], "a map"),
        ("remove", "options.id", lambda value: ["f", "a", {"id": value}], "an integer from 1 to 9,007,199,254,740,991"),
        ("get", "options.workload", lambda value: ["f", "a", {"workload": value}], "true or false"),
        ("list", "query", lambda value: [value], "a map"),
        ("list", "query.func", lambda value: [{"func": value}], "a text"),
        ("list", "query.state", lambda value: [{"state": value}], "one of waiting, running, dead, behind, parked"),
        ("list", "query.after", lambda value: [{"after": value}], "a text"),
        ("status", "query.prefix", lambda value: [{"prefix": value}], "a text"),
        ("subscribe", "func", lambda value: [value], "a text"),
        ("subscribe", "options.limit", lambda value: ["f", {"limit": value}], "an integer from 1 to 1,000"),
        ("hello", "options", lambda value: [value], "a map"),
        ("hello", "options.client", lambda value: [{"client": value}], "a text"),
        ("hello", "options.credit", lambda value: [{"credit": value}], "an integer from 1 to 1,000"),
        ("hello", "options.features", lambda value: [{"features": value}], "an array of texts"),
        ("hello", "options.features[1]", lambda value: [{"features": ["x", value]}], "a text"),
        ("finish", "handle", lambda value: [value], "a text"),
        ("finish", "outcome", lambda value: ["h", value], "a map"),
        ("finish", "outcome.outcome", lambda value: ["h", {"outcome": value}], "one of done, failed, later"),
        ("finish", "outcome.data", lambda value: ["h", {"outcome": "done", "data": value}], "bytes"),
        ("finish", "outcome.reason", lambda value: ["h", {"outcome": "failed", "reason": value}], "a text"),
        ("finish", "outcome.final", lambda value: ["h", {"outcome": "failed", "final": value}], "true or false"),
        ("finish", "outcome.delay_ms", lambda value: ["h", {"outcome": "later", "delay_ms": value}], AT_LEAST_0),
        ("finish", "outcome.submit", lambda value: ["h", {"outcome": "done", "submit": value}], "an array of jobs"),
        (
            "finish", "outcome.submit[0].priority",
            lambda value: ["h", {"outcome": "done", "submit": [JOB | {"priority": value}]}],
            "an integer from -100 to 100",
        ),
        ("extend", "options.lease_ms", lambda value: ["h", {"lease_ms": value}], "an integer from 1,000 to 86,400,000"),
        ("extend", "options.own", lambda value: ["h", {"own": value}], "true or false"),
    ],
)  # fmt: skip
def test_a_value_of_another_kind_is_told_with_the_kind_that_is_expected(
    method: str, path: str, params: Any, form: str
) -> None:
    taken = kinds_taken(path, form)
    for kind in taken:
        # What is wrong with it then, if anything is, is another thing than its kind.
        assert not said(method, *params(KINDS[kind])).endswith(f", not {kind}"), kind
    for kind in KINDS.keys() - taken:
        told = refusal(method, *params(KINDS[kind]))
        if kind == "nil" and path in MISSING:
            assert told == at(path, "is missing")
        else:
            hint = "; for several jobs there is submit_batch" if (path, kind) == ("job", "an array") else ""
            assert told == at(path, f"is {form}, not {kind}{hint}")


# -- values out of range -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "params", "low", "high"),
    [
        ("submit", "job.due_at_ms", lambda value: [JOB | {"due_at_ms": value}], 0, TIMES_MAX),
        ("submit", "job.delay_ms", lambda value: [JOB | {"delay_ms": value}], 0, TIMES_MAX - NOW_MS),
        ("submit", "job.priority", lambda value: [JOB | {"priority": value}], -100, 100),
        ("submit", "job.lease_ms", lambda value: [JOB | {"lease_ms": value}], 1_000, 86_400_000),
        ("submit", "job.retry.limit", lambda value: [JOB | {"retry": {"limit": value}}], 0, 1_000),
        ("submit", "job.retry.delay_ms", lambda value: [JOB | {"retry": {"delay_ms": value}}], 0, 86_400_000),
        ("submit", "job.retry.cap_ms", lambda value: [JOB | {"retry": {"cap_ms": value}}], 0, 2_592_000_000),
        ("submit", "job.retry.jitter_percent", lambda value: [JOB | {"retry": {"jitter_percent": value}}], 0, 100),
        ("submit_batch", "jobs[1].priority", lambda value: [[JOB, JOB | {"priority": value}]], -100, 100),
        ("remove", "options.id", lambda value: ["f", "a", {"id": value}], 1, 2**53 - 1),
        ("get", "options.id", lambda value: ["f", "a", {"id": value}], 1, 2**53 - 1),
        ("list", "query.limit", lambda value: [{"limit": value}], 1, 1_000),
        ("status", "query.limit", lambda value: [{"limit": value}], 1, 1_000),
        ("subscribe", "options.limit", lambda value: ["f", {"limit": value}], 1, 1_000),
        ("hello", "options.protocol", lambda value: [{"protocol": value}], 1, 2**53 - 1),
        ("hello", "options.credit", lambda value: [{"credit": value}], 1, 1_000),
        ("hello", "options.disconnect_grace_ms", lambda value: [{"disconnect_grace_ms": value}], 0, 600_000),
        ("hello", "options.silence_ms", lambda value: [{"silence_ms": value}], 60_000, 3_600_000),
        (
            "finish", "outcome.delay_ms", lambda value: ["h", {"outcome": "later", "delay_ms": value}],
            0, TIMES_MAX - NOW_MS,
        ),
        (
            "finish", "outcome.submit[0].delay_ms",
            lambda value: ["h", {"outcome": "failed", "submit": [JOB | {"delay_ms": value}]}], 0, TIMES_MAX - NOW_MS,
        ),
        ("extend", "options.lease_ms", lambda value: ["h", {"lease_ms": value}], 1_000, 86_400_000),
    ],
)  # fmt: skip
def test_an_integer_out_of_range_is_told_with_its_range(
    method: str, path: str, params: Any, low: int, high: int
) -> None:
    for value in (low, high):
        METHODS[method].check(params(value), RULES)
    for value in (low - 1, high + 1, 2**64 - 1):
        # A wait that is short enough ends with what can be written down.
        shown = TIMES_MAX if path.endswith(".delay_ms") and not 0 <= value <= TIMES_MAX else high
        shown = high if "retry" in path else shown
        assert refusal(method, *params(value)) == at(path, f"is an integer from {low:,} to {shown:,}, not {value:,}")


@pytest.mark.parametrize(
    ("method", "path", "params"),
    [
        ("submit", "job.func", lambda value: [JOB | {"func": value}]),
        ("submit", "job.name", lambda value: [JOB | {"name": value}]),
        ("submit_batch", "jobs[0].name", lambda value: [[JOB | {"name": value}]]),
        ("remove", "func", lambda value: [value, "a"]),
        ("get", "name", lambda value: ["f", value]),
        ("list", "query.func", lambda value: [{"func": value}]),
        ("subscribe", "func", lambda value: [value]),
        ("finish", "handle", lambda value: [value]),
        ("extend", "handle", lambda value: [value]),
    ],
)
def test_a_name_has_1_to_255_bytes(method: str, path: str, params: Any) -> None:
    for value in ("x", "x" * 255, "ä" * 127, "\U0001f600" * 63):
        METHODS[method].check(params(value), RULES)
    assert refusal(method, *params("")) == at(path, "is empty")
    for value, size in (("x" * 256, 256), ("ä" * 128, 256), ("\U0001f600" * 64, 256), ("x" * 99_999, 99_999)):
        assert refusal(method, *params(value)) == at(path, f"has {size:,} bytes, and may have 255")


@pytest.mark.parametrize(
    ("method", "path", "params"),
    [
        ("status", "query.prefix", lambda value: [{"prefix": value}]),
        ("status", "query.after", lambda value: [{"after": value}]),
        ("hello", "options.client", lambda value: [{"client": value}]),
        ("hello", "options.features[1]", lambda value: [{"features": ["", value]}]),
    ],
)
def test_other_texts_may_be_empty(method: str, path: str, params: Any) -> None:
    for value in ("", "ä" * 127):
        METHODS[method].check(params(value), RULES)
    assert refusal(method, *params("ä" * 128)) == at(path, "has 256 bytes, and may have 255")


def test_a_cursor_is_one_that_was_given() -> None:
    for place in (Place(2**53 - 1), Place(1, "a"), Place(2**53 - 1, "ä-.\n" * 51)):
        listed = METHODS["list"].check([{"after": requests.job_cursor(place)}], RULES)[0]
        assert (listed.after, listed.before_id) == (place, None)
        cursor = requests.job_cursor(place, 2**53 - 1)
        matched = METHODS["remove_matching"].check([{"all": True}, {"after": cursor}], RULES)[0]
        assert (matched.after, matched.before_id) == (place, 2**53 - 1)
        assert refusal("list", {"after": cursor}) == at("query.after", "is not the `next` of a page of list")
    for after in ("", "17", "j", "jx", "J1", "j" + "f" * 15, "j1\n", "j1.", "j1.x", "j1.1.1", "j.1-a"):
        for method, path, params in (
            ("list", "query.after", [{"after": after}]),
            ("requeue_matching", "options.after", [{"all": True}, {"after": after}]),
        ):
            assert refusal(method, *params) == at(path, "is not the `next` of a page of list")
    assert refusal("list", {"after": "j" * 301}) == at("query.after", "has 301 bytes, and may have 300")
    assert refusal("remove_matching", {"all": True}, {"after": "j1"}) == at(
        "options.after", "is not the `next` of an answer to a request on many jobs"
    )


@pytest.mark.parametrize(
    ("query", "path", "what"),
    [
        ({}, "query", "names no jobs; say which, or all: true"),
        ({"all": False, "func": None}, "query", "names no jobs; say which, or all: true"),
        (None, "query", "is a map, not nil"),
        ({"all": 1}, "query.all", "is true or false, not an integer"),
        ({"prefix": ""}, "query.prefix", "is empty"),
        ({"reason": "ä" * 128}, "query.reason", "has 256 bytes, and may have 255"),
        ({"due_from_at_ms": -1}, "query.due_from_at_ms", "is an integer from 0 to 253,402,300,799,999, not -1"),
        (
            {"due_from_at_ms": 5, "due_before_at_ms": 5},
            "query.due_before_at_ms",
            "is not after due_from_at_ms, so no job is meant",
        ),
        ({"function": "f"}, "query.function", "is not a key of a query; did you mean func?"),
        (
            {"limit": 5},
            "query.limit",
            f"is not a key of a query; they are {', '.join(each.name for each in fields_of(fields.MatchingQuery))}",
        ),
        ({"state": "gone"}, "query.state", "is one of waiting, running, dead, behind, parked, not gone"),
    ],
)
def test_a_request_on_many_says_which(query: Any, path: str, what: str) -> None:
    for method in ("remove_matching", "requeue_matching", "cancel_matching"):
        assert refusal(method, query) == at(path, what)


def test_only_dead_jobs_are_requeued() -> None:
    assert refusal("requeue_matching", {"state": "waiting"}) == at(
        "query.state", "is dead or left out, not waiting: only dead jobs are requeued"
    )
    for query in ({"func": "f"}, {"func": "f", "state": "dead"}):
        assert METHODS["requeue_matching"].check([query], RULES)[0] == Listing("f", State.DEAD)


def test_a_word_that_is_no_choice_is_told_with_those_that_are() -> None:
    assert refusal("submit", JOB | {"existing": "delete"}) == at(
        "job.existing", "is one of replace, keep, keep_live, refuse, not delete"
    )
    assert refusal("submit", JOB | {"retry": {"backoff": "s" * 200}}) == at(
        "job.retry.backoff", f"is one of fixed, exponential, quadratic, not {'s' * 100}"
    )
    assert refusal("list", {"state": "done"}) == at(
        "query.state", "is one of waiting, running, dead, behind, parked, not done"
    )
    assert refusal("finish", "h", {"outcome": "gone"}) == at(
        "outcome.outcome", "is one of done, failed, later, not gone"
    )


# -- bytes -------------------------------------------------------------------------------------------------------------


def test_a_text_given_for_bytes_stands_for_its_utf_8() -> None:
    """Even one that looks like base64."""
    for text in ("aGk=", "ä", ""):
        (submission,) = METHODS["submit"].check([JOB | {"workload": text}], RULES)
        assert (submission.job.workload, submission.job.workload_bytes) == (text.encode(), len(text.encode()))
    (submission,) = METHODS["submit"].check([JOB | {"workload": b"\xff"}], RULES)
    assert submission.job.workload == b"\xff"


def test_the_size_of_a_workload_is_counted_in_bytes() -> None:
    for value in (bytes(1000), "ä" * 500):
        METHODS["submit"].check([JOB | {"workload": value}], RULES)
    for value, size in ((bytes(1001), 1001), ("ä" * 501, 1002)):
        assert refusal("submit", JOB | {"workload": value}) == at(
            "job.workload", f"has {size:,} bytes, and may have 1,000"
        )
        assert refusal("submit_batch", [JOB, JOB | {"workload": value}]) == at(
            "jobs[1].workload", f"has {size:,} bytes, and may have 1,000"
        )
        assert refusal("finish", "h", value) == at("outcome", f"has {size:,} bytes, and may have 1,000")
        assert refusal("finish", "h", {"outcome": "done", "data": value}) == at(
            "outcome.data", f"has {size:,} bytes, and may have 1,000"
        )


# -- maps and arrays ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "params", "of"),
    [
        ("submit", "job", lambda value: [JOB | value], "a job; did you mean name?"),
        ("submit", "job.retry", lambda value: [JOB | {"retry": value}],
         "a retry rule; they are limit, backoff, delay_ms, cap_ms, jitter_percent"),
        ("submit_batch", "jobs[2]", lambda value: [[JOB, JOB, JOB | value]], "a job; did you mean name?"),
        ("remove", "options", lambda value: ["f", "a", value], "these options; they are id"),
        ("get", "options", lambda value: ["f", "a", value], "these options; they are id, workload, data"),
        ("list", "query", lambda value: [value],
         "a query; they are func, state, prefix, due_from_at_ms, due_before_at_ms, reason, group_id, after, limit"),
        ("status", "query", lambda value: [value], "these options; they are prefix, after, limit"),
        ("subscribe", "options", lambda value: ["f", value], "these options; they are limit"),
        ("extend", "options", lambda value: ["f", value], "these options; they are lease_ms, own"),
        ("finish", "outcome", lambda value: ["h", {"outcome": "done"} | value],
         "an outcome; they are outcome, data, reason, final, delay_ms, locks, submit, then"),
        ("finish", "outcome.submit[0]", lambda value: ["h", {"outcome": "done", "submit": [JOB | value]}],
         "a job; did you mean name?"),
    ],
)  # fmt: skip
def test_an_unknown_key_is_told_with_those_that_are_known(method: str, path: str, params: Any, of: str) -> None:
    assert refusal(method, *params({"nmae": None})) == at(f"{path}.nmae", f"is not a key of {of}")
    for key, kind in ((b"func", "bytes"), (7, "an integer"), (EXTENSION, "an extension value")):
        assert refusal(method, *params({key: 1})) == at(path, f"has a key that is {kind}; the keys of a map are text")


def test_the_key_that_was_meant_is_guessed() -> None:
    assert refusal("submit", JOB | {"due": 1}) == at("job.due", "is not a key of a job; did you mean due_at_ms?")
    assert refusal("submit", JOB | {"retry": {"jitter": 1}}) == at(
        "job.retry.jitter", "is not a key of a retry rule; did you mean jitter_percent?"
    )
    assert refusal("list", {"states": "dead"}) == at("query.states", "is not a key of a query; did you mean state?")
    assert refusal("submit", JOB | {"": 1}).startswith("INVALID path=job.: job. is not a key of a job; ")


def test_a_peer_s_own_text_is_cut_and_never_breaks_the_form_of_an_error() -> None:
    """What stands before the colon has neither blank nor colon."""
    keys = (
        "func, name, workload, headers, due_at_ms, delay_ms, priority, lease_ms, retry, run_max_ms, locks, result_ms,"
        " expires_at_ms, broadcast, existing, join_group"
    )
    for key in ("a b", "a: b", "ä", "x\n"):
        why = f"is not a key of a job; they are {keys}"
        wanted = at(f"job.{key}", why) if key == "ä" else f"INVALID: job.{key} {why}"
        assert refusal("submit", JOB | {key: 1}) == wanted
    assert (
        refusal("submit", JOB | {"x" * 5000: 1}) == f"INVALID: job.{'x' * 100} is not a key of a job; they are {keys}"
    )
    assert refusal("submit", JOB | {"headers": {"a b": 1}}) == "INVALID: job.headers.a b is a text, not an integer"
    assert refusal("submit", JOB | {"headers": {"x" * 5000: 1}}) == (
        f"INVALID: job.headers.{'x' * 100} is a text, not an integer"
    )


def test_hello_alone_ignores_keys_that_it_does_not_know() -> None:
    assert METHODS["hello"].check([{"credti": 1, "client": "me", "": None}], RULES) == (fields.Hello(client="me"),)
    assert METHODS["hello"].check([], RULES) == METHODS["hello"].check([{}], RULES) == (fields.Hello(),)


def test_headers_have_a_size_and_a_number() -> None:
    def check(headers: Any) -> Any:
        return METHODS["submit"].check([JOB | {"headers": headers}], RULES)[0].job.headers

    assert check(None) is None
    assert check({}) is None
    assert check({"a": "ä" * 2047 + "x"}) == {"a": "ä" * 2047 + "x"}
    assert len(check({str(number): "" for number in range(64)})) == 64
    many = {str(number): "" for number in range(65)}
    assert refusal("submit", JOB | {"headers": many}) == at("job.headers", "has 65 entries, and may have 64")
    assert refusal("submit", JOB | {"headers": {"a": "ä" * 2048}}) == at(
        "job.headers", "has 4,097 bytes of names and values, and may have 4,096"
    )
    assert refusal("submit", JOB | {"headers": {b"a": "x"}}) == at(
        "job.headers", "has a key that is bytes; the keys of a map are text"
    )


def test_an_array_has_a_length() -> None:
    METHODS["submit_batch"].check([[JOB] * 1000], RULES)
    METHODS["hello"].check([{"features": [""] * 64}], RULES)
    assert METHODS["submit_batch"].check([[]], RULES) == ((),)
    assert refusal("submit_batch", [JOB] * 1001) == at("jobs", "has 1,001 jobs, and may have 1,000")
    assert refusal("finish", "h", {"outcome": "later", "submit": [JOB] * 1001}) == at(
        "outcome.submit", "has 1,001 jobs, and may have 1,000"
    )
    assert refusal("hello", {"features": [""] * 65}) == at("options.features", "has 65 texts, and may have 64")


# -- jobs --------------------------------------------------------------------------------------------------------------


def test_a_job_needs_a_function_and_a_name() -> None:
    for key in ("func", "name"):
        for job in ({**JOB, key: None}, {each: text for each, text in JOB.items() if each != key}):
            assert refusal("submit", job) == at(f"job.{key}", "is missing")
            assert refusal("submit_batch", [JOB, job]) == at(f"jobs[1].{key}", "is missing")


def test_several_jobs_are_for_submit_batch() -> None:
    assert refusal("submit", [JOB]) == at("job", "is a map, not an array; for several jobs there is submit_batch")


def test_a_job_is_due_at_a_time_or_after_one() -> None:
    both = "has both due_at_ms and delay_ms; give one"
    assert refusal("submit", JOB | {"due_at_ms": 1, "delay_ms": 1}) == at("job", both)
    assert refusal("submit_batch", [JOB, JOB | {"due_at_ms": 1, "delay_ms": 0}]) == at("jobs[1]", both)


def test_what_a_job_does_not_say_is_the_default() -> None:
    for extra in ({}, dict.fromkeys(("workload", "headers", "due_at_ms", "delay_ms", "priority", "lease_ms", "retry", "existing"))):  # fmt: skip # noqa: E501
        (submission,) = METHODS["submit"].check([JOB | extra], RULES)
        job = submission.job
        assert submission.existing == "replace"
        assert (job.id, job.func, job.name, job.due_at_ms, job.submitted_at_ms) == (0, "f", "a", NOW_MS, NOW_MS)
        assert (job.workload, job.workload_bytes, job.headers, job.priority, job.lease_ms) == (b"", 0, None, 0, 600_000)
        assert (job.retry.limit, job.retry.backoff, job.retry.delay_ms, job.retry.cap_ms) == (
            15, "exponential", 1_000, 3_600_000,
        )  # fmt: skip
        assert job.retry.jitter_percent == 10
        assert not job.dated


def test_a_retry_rule_that_says_one_thing_has_the_defaults_for_the_rest() -> None:
    def retry(**rule: Any) -> Any:
        return METHODS["submit"].check([JOB | {"retry": rule}], RULES)[0].job.retry.as_map()

    plain = {"limit": 15, "backoff": "exponential", "delay_ms": 1_000, "cap_ms": 3_600_000, "jitter_percent": 10}
    assert retry() == plain
    assert retry(limit=3, backoff=None) == plain | {"limit": 3}
    for backoff in ("fixed", "quadratic"):
        assert retry(backoff=backoff) == plain | {"backoff": backoff, "jitter_percent": 0}
        assert retry(backoff=backoff, jitter_percent=7)["jitter_percent"] == 7
    assert retry(jitter_percent=0) == plain | {"jitter_percent": 0}


def test_only_a_point_in_time_that_is_still_to_come_is_a_date() -> None:
    for given, due_at_ms, dated in (
        ({"due_at_ms": NOW_MS + 1}, NOW_MS + 1, True),
        ({"due_at_ms": NOW_MS}, NOW_MS, False),
        ({"due_at_ms": 0}, NOW_MS, False),
        ({"delay_ms": 5}, NOW_MS + 5, False),
        ({"delay_ms": 0, "due_at_ms": None}, NOW_MS, False),
    ):  # fmt: skip
        (submission,) = METHODS["submit"].check([JOB | given], RULES)
        assert (submission.job.due_at_ms, submission.job.dated) == (due_at_ms, dated)


# -- outcomes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "data"),
    [
        (None, b""),
        (b"", b""),
        (b"x", b"x"),
        ("x", b"x"),
        ({"outcome": "done"}, b""),
        ({"outcome": "done", "data": "x"}, b"x"),
    ],
)
def test_done_is_said_in_many_ways(value: Any, data: bytes) -> None:
    assert requests.outcome(value, RULES) == requests.Outcome("done", data=data)


def test_what_belongs_to_another_outcome_is_not_looked_at() -> None:
    wrong = {"data": 1, "reason": 1, "final": 1, "delay_ms": -1}

    def outcome(word: str, *looked_at: str) -> requests.Outcome:
        ignored = {key: value for key, value in wrong.items() if key not in looked_at}
        return requests.outcome({"outcome": word} | ignored, RULES)

    assert outcome("done", "data") == requests.Outcome("done")
    assert outcome("later", "delay_ms") == requests.Outcome("later")
    assert outcome("failed", "reason", "final", "delay_ms") == requests.Outcome("failed")


def test_an_outcome_has_all_that_was_said() -> None:
    failed = {"outcome": "failed", "reason": "no", "final": True, "delay_ms": 5, "submit": [JOB]}
    outcome = requests.outcome(failed, RULES)
    assert outcome[:4] == ("failed", "no", True, 5)
    assert [(each.job.func, each.job.name) for each in outcome.submit] == [("f", "a")]
    assert requests.outcome({"outcome": "later", "delay_ms": 7}, RULES) == requests.Outcome("later", delay_ms=7)


def test_an_outcome_needs_its_word() -> None:
    for value in ({}, {"outcome": None}, {"data": b"x"}):
        assert refusal("finish", "h", value) == at("outcome.outcome", "is missing")


def test_a_response_that_cannot_be_read_is_a_failure_that_says_so() -> None:
    assert requests.response("no", {}, RULES) == (requests.Outcome("failed", "no"), True)
    assert requests.response(None, b"", RULES) == (requests.DONE, True)
    outcome, is_readable = requests.response(None, {"outcome": "perhaps"}, RULES)
    assert not is_readable
    assert outcome == requests.Outcome("failed", at("outcome.outcome", "is one of done, failed, later, not perhaps"))


# -- the rest ----------------------------------------------------------------------------------------------------------


def test_options_are_what_the_scheduler_is_given() -> None:
    check = {name: (lambda *params, check=method.check: check(list(params), RULES)) for name, method in METHODS.items()}
    assert check["remove"]("f", "a", {"id": 7}) == ("f", "a", 7)
    assert check["get"]("f", "a", {"id": None, "workload": True}) == (Get("f", "a", None, True, NOW_MS),)
    assert check["list"]()[0] == Listing()
    query = {"func": "f", "state": "dead", "prefix": "p", "due_from_at_ms": 1, "due_before_at_ms": 2, "reason": "r"}
    assert check["list"](query | {"after": "jff-a", "limit": 3})[0] == Listing(
        "f", State.DEAD, "p", 1, 2, "r", None, Place(255, "a"), 3
    )
    assert check["remove_matching"](query, {"after": "jff.1ff-a", "dry_run": True})[0] == Listing(
        "f", State.DEAD, "p", 1, 2, "r", 0x1FF, Place(255, "a"), 100, True
    )
    assert check["status"]() == (requests.NamesQuery("", "", 100),)
    assert check["status"]({"prefix": "p", "after": "q", "limit": 3}) == (requests.NamesQuery("p", "q", 3),)
    assert check["subscribe"]("f") == check["subscribe"]("f", {}) == ("f", 1)
    assert check["subscribe"]("f", {"limit": 9}) == ("f", 9)
    assert check["extend"]("h") == ("h", None, False)
    assert check["extend"]("h", {"lease_ms": 1000, "own": True}) == ("h", 1000, True)
    hello = {
        "protocol": 2,
        "client": "c",
        "credit": 3,
        "disconnect_grace_ms": 4,
        "silence_ms": 60_000,
        "features": ["x"],
    }
    assert check["hello"](hello) == (fields.Hello(2, "c", 3, 4, 60_000, ("x",)),)
