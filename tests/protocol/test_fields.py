"""The types of what peers say, held to what msgspec makes easy to get wrong."""

import dataclasses
import re
from typing import Any, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgpack import ExtType
from msgspec import inspect

from periodic_client import Job, TakenJob
from periodic_client.cli_work import ASSIGNED
from periodic_client.wire import Invalid, limits
from periodic_client.words import fields_of, in_words
from periodicd.job import STATES
from periodicd.methods import METHODS
from periodicd.protocol import fields, requests
from periodicd.protocol.answers import PerformedJob
from periodicd.protocol.words import Said
from tests.fuzz.words import CHOICES, KEYS, TYPES, WORDS

EVERY = [(said, each) for said in TYPES for each in fields_of(said)]


def test_every_type_is_found() -> None:
    assert len(TYPES) > 25
    assert {"func", "headers", "jitter_percent", "own", "features"} <= set(KEYS)
    assert {"keep_live", "quadratic", "dead", "later"} <= set(CHOICES)
    assert {fields.Job, fields.Retry, fields.Submit, fields.Hello, fields.Outcome, fields.Done} <= set(TYPES)


def test_every_integer_has_two_ends() -> None:
    for said, each in EVERY:
        if isinstance(each.kind, inspect.IntType):
            assert each.kind.ge is not None, (said, each.name)
            assert each.kind.le is not None, (said, each.name)


@pytest.mark.parametrize(("said", "ranges"), [(fields.Job, limits.JOB_INTEGERS), (fields.Retry, limits.RETRY_INTEGERS)])
def test_the_library_s_ranges_are_those_of_the_types(said: type[Said], ranges: dict[str, tuple[int, int]]) -> None:
    integers = {each.name: each.kind for each in fields_of(said) if isinstance(each.kind, inspect.IntType)}
    if said is fields.Job:
        del integers["delay_ms"]  # its end depends on now
    assert {name: (kind.ge, kind.le) for name, kind in integers.items()} == ranges


def test_every_kind_of_value_has_words() -> None:
    """There are none for a field of bytes: msgspec would take a text for base64, and not say so."""
    for said, each in EVERY:
        if not isinstance(each.kind, inspect.AnyType) or "description" in each.notes:
            assert in_words(each.kind, each.notes), (said, each.name)


def test_what_may_be_left_out_may_be_nil_and_is_then_the_same() -> None:
    """A default of a type would be lost on who sends nil for it."""
    for said in TYPES:
        shape = inspect.type_info(said)
        assert isinstance(shape, inspect.StructType)
        for each in shape.fields:
            assert each.required or each.default is None, (said, each.name)


def test_every_text_of_limited_length_is_measured_in_bytes() -> None:
    """msgspec counts characters, so a type with such a text looks at it once more."""
    for said, each in EVERY:
        if isinstance(each.kind, inspect.StrType) and each.kind.max_length:
            assert hasattr(said, "__post_init__"), (said, each.name)


def test_a_default_that_the_page_shows_is_what_is_used() -> None:
    """What does not come from a type is compared with it: the rules have their own home."""
    rules = requests.Rules(7, 1)
    (submission,) = METHODS["submit"].check([{"func": "f", "name": "n"}], rules)
    used = {
        fields.Job: {
            **{name: getattr(submission.job, name) for name in ("priority", "lease_ms", "result_ms")},
            "existing": "replace",
        },
        fields.Retry: submission.job.retry.as_map(),
        fields.ListQuery: {"limit": METHODS["list"].check([], rules)[0].limit},
        fields.EventsQuery: {
            key: getattr(METHODS["events"].check([], rules)[0], key) for key in ("timeout_ms", "limit")
        },
        fields.WorkersQuery: {"limit": METHODS["workers"].check([], rules)[0].limit},
        fields.StatusQuery: {"limit": METHODS["status"].check([], rules)[0].limit},
        fields.SubscribeOptions: {"limit": METHODS["subscribe"].check(["f"], rules)[1]},
        fields.GetOptions: {
            key: getattr(METHODS["get"].check(["f", "n"], rules)[0], key) for key in ("workload", "data")
        },
        fields.WatchOptions: {
            key: getattr(METHODS["watch"].check(["f", "n"], rules)[0], key) for key in ("timeout_ms", "only_end")
        },
        fields.TakeOptions: {
            key: getattr(METHODS["take"].check([{"funcs": ["f"]}], rules)[0], key) for key in ("max", "wait_ms")
        },
        fields.EndRunOptions: {"as": METHODS["end_run"].check(["f", "n"], rules)[0].how.outcome},
        fields.ExtendOptions: {"own": METHODS["extend"].check(["h"], rules)[2]},
        fields.Outcome: {
            key: getattr(METHODS["finish"].check(["h", {"outcome": "failed"}], rules)[1], key)
            for key in ("final", "delay_ms")
        },
    }
    for said, values in used.items():
        shown = {each.name: each.notes["default"] for each in fields_of(said)}
        assert shown | {key: value for key, value in values.items() if key != "jitter_percent"} == shown, said


def test_states_are_those_of_a_job() -> None:
    (state,) = (each for each in fields_of(fields.ListQuery) if each.name == "state")
    assert isinstance(state.kind, inspect.LiteralType)
    assert list(state.kind.values) == list(STATES)


def test_each_outcome_has_the_keys_of_all() -> None:
    words = next(each.kind for each in fields_of(fields.Outcome) if each.name == "outcome")
    assert isinstance(words, inspect.LiteralType)
    assert list(fields.OUTCOMES) == list(words.values)
    for said in fields.OUTCOMES.values():
        assert {each.name for each in fields_of(said)} == {each.name for each in fields_of(fields.Outcome)}


def test_hello_alone_takes_keys_that_it_does_not_know() -> None:
    assert [said for said in TYPES if not said.__struct_config__.forbid_unknown_fields] == [fields.Hello]
    assert issubclass(fields.Hello, Said)


values = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 1_001) | st.integers(-(2**63), 2**64 - 1) | st.floats()
    | st.sampled_from(WORDS) | st.text(max_size=5) | st.binary(max_size=5) | st.just(ExtType(1, b"x")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | st.binary(max_size=2), inner),
    max_leaves=8,
)  # fmt: skip
jobs = st.builds(dict.__or__, st.just({"func": "f", "name": "a"}), st.dictionaries(st.sampled_from(KEYS), values))


@given(method=st.sampled_from(sorted(METHODS)), params=st.lists(values | jobs | st.lists(jobs), max_size=3))
def test_whatever_is_refused_is_refused_in_words_of_the_protocol(method: str, params: list[Any]) -> None:
    """What msgspec refuses, the look at the types finds too."""
    try:
        METHODS[method].check(params, requests.Rules(1_700_000_000_000, 1_000))
    except Invalid as error:
        said = error.to_wire()
        assert " is refused" not in said
        assert not re.search(r"Expected|`int`|\bdict\b|\blist\b|\bstr\b|None", said.replace("`next`", ""))


def test_the_library_s_workers_see_all_that_is_performed() -> None:
    performed = set(get_type_hints(PerformedJob))
    assert set(Job.__annotations__) == performed
    performed.remove("broadcast")  # nobody takes one
    assert {each.name for each in dataclasses.fields(TakenJob)} == performed
    assert {*ASSIGNED, "workload", "headers"} == performed, "what periodic take prints, or writes to a file"
