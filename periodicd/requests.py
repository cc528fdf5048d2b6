"""What peers say, checked: the params of each method become values, or ``Invalid`` names the field that is wrong.

Pure functions. Every value that can reach SQL passes here: integers fit 53 bits, text is UTF-8 (the codec saw to that),
lengths are bounded. nil stands for what was left out, everywhere. METHODS has the order and the words of protocol.md.
"""

import difflib
import re
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, get_args

from periodic_client.wire import Invalid
from periodicd.job import STATES, Job
from periodicd.ops import Existing, Listing
from periodicd.peers import CONNECTION_JOBS_MAX, SILENCE_MS
from periodicd.retry import BACKOFFS, DEFAULT, JITTER_PERCENT, Retry

NAME_BYTES_MAX = 255
BATCH_JOBS_MAX = 1000
LISTING_MAX = 1000
HEADERS_MAX = 64
HEADERS_BYTES_MAX = 4096
FEATURES_MAX = 64
INTEGER_MAX = 2**53 - 1
"""What every language can hold: JavaScript, Lua and JSON know integers as doubles."""
TIME_MS_MAX = 253_402_300_799_999
"""The last millisecond of the year 9999: what every language's calendar can still show."""
LEASE_MS = (1_000, 86_400_000)
GRACE_MS_MAX = 600_000
SILENCE_MS_MAX = 3_600_000
EXISTING: tuple[Existing, ...] = get_args(Existing)


class Rules(NamedTuple):
    """What the checks depend on beside the params."""

    now_ms: int
    workload_bytes_max: int


class Hello(NamedTuple):
    """What was said; None is what was not."""

    protocol: int | None = None
    client: str | None = None
    credit: int | None = None
    disconnect_grace_ms: int | None = None
    silence_ms: int | None = None
    features: tuple[str, ...] | None = None


class Submission(NamedTuple):
    """A job as it was asked for; the scheduler gives it its id."""

    job: Job
    existing: Existing = "replace"


class Outcome(NamedTuple):
    """How a run ended; protocol.md, perform."""

    outcome: Literal["done", "failed", "later"]
    reason: str = ""
    final: bool = False
    delay_ms: int = 0
    submit: tuple[Submission, ...] = ()


class FunctionsQuery(NamedTuple):
    """Which functions ``status`` is to tell of."""

    prefix: str
    after: str
    limit: int


DONE = Outcome("done")


# -- the smallest checks -----------------------------------------------------------------------------------------------


def _wrong(where: str, what: str) -> Invalid:
    """``where`` is the path of the parameter, which the error tells apart too unless it holds a peer's own text."""
    return Invalid(f"{where} {what}", path=where) if re.fullmatch(r"[\w.\[\]-]{1,100}", where) else Invalid(
        f"{where} {what}"
    )  # fmt: skip


def _integer(value: Any, where: str, low: int, high: int) -> int:
    if type(value) is not int:
        raise _wrong(where, f"is an integer, not {_kind(value)}")
    if not low <= value <= high:
        raise _wrong(where, f"is from {low} to {high}, not {value}")
    return value


def _text(value: Any, where: str, longest: int = NAME_BYTES_MAX) -> str:
    if type(value) is not str:
        raise _wrong(where, f"is a text, not {_kind(value)}")
    # Up to 63 characters need no counting: UTF-8 has 4 bytes a character at the most.
    if len(value) > 63 and len(value.encode()) > longest:
        raise _wrong(where, f"has {len(value.encode())} bytes, and may have {longest}")
    return value


def _name(value: Any, where: str) -> str:
    if value is None:
        raise _wrong(where, "is missing")
    if not _text(value, where):
        raise _wrong(where, "is empty")
    return value  # type: ignore[no-any-return]


def _bytes(value: Any, where: str, longest: int) -> bytes:
    if type(value) is str:
        value = value.encode()
    elif type(value) is not bytes:
        raise _wrong(where, f"is bytes, not {_kind(value)}")
    if len(value) > longest:
        raise _wrong(where, f"has {len(value)} bytes, and may have {longest}")
    return value  # type: ignore[no-any-return]


def _boolean(value: Any, where: str) -> bool:
    if type(value) is not bool:
        raise _wrong(where, f"is true or false, not {_kind(value)}")
    return value


def _choice(value: Any, where: str, choices: Any) -> Any:
    if type(value) is not str:
        raise _wrong(where, f"is one of {', '.join(choices)}, not {_kind(value)}")
    if value not in choices:
        raise _wrong(where, f"is one of {', '.join(choices)}, not {value:.100}")
    return value


def _map(value: Any, where: str, keys: Any, of: str) -> dict[str, Any]:
    if type(value) is not dict:
        raise _wrong(where, f"is a map, not {_kind(value)}")
    for key in value:
        if key not in keys:
            if type(key) is not str:
                raise _wrong(where, f"has a key that is {_kind(key)}; the keys of a map are text")
            near = difflib.get_close_matches(key[:64], keys, 1) or [each for each in keys if each.startswith(key)]
            hint = f"did you mean {near[0]}?" if near else f"they are {', '.join(keys)}"
            raise _wrong(f"{where}.{key:.100}", f"is not a key of {of}; {hint}")
    return value


def _array(value: Any, where: str, of: str, longest: int) -> list[Any]:
    if type(value) is not list:
        raise _wrong(where, f"is an array of {of}, not {_kind(value)}")
    if len(value) > longest:
        raise _wrong(where, f"has {len(value)} {of}, and may have {longest}")
    return value


_KINDS = {type(None): "nil", str: "a text", bytes: "bytes", list: "an array", dict: "a map", bool: "a boolean",
          int: "an integer", float: "a float"}  # fmt: skip


def _kind(value: Any) -> str:
    return _KINDS.get(type(value), "an extension value")


def _params(params: list[Any], least: int, most: int, form: str) -> list[Any]:
    """``params`` filled up with nil to ``most``; nil is what was left out."""
    given = len(params)
    while given > least and params[given - 1] is None:
        given -= 1
    if not least <= given <= most:
        raise Invalid(f"the params are {form}; {len(params)} were given")
    return params[:given] + [None] * (most - given)


# -- jobs --------------------------------------------------------------------------------------------------------------

_RETRY_KEYS = ("limit", "backoff", "delay_ms", "cap_ms", "jitter_percent")
_JOB_KEYS = (
    "func", "name", "workload", "headers", "due_at_ms", "delay_ms", "priority", "lease_ms", "retry", "existing",
)  # fmt: skip


def _retry(value: Any, where: str) -> Retry:
    rule = {key: each for key, each in _map(value, where, _RETRY_KEYS, "a retry rule").items() if each is not None}
    get = rule.get
    backoff = _choice(get("backoff", DEFAULT.backoff), f"{where}.backoff", BACKOFFS)
    return Retry(
        _integer(get("limit", DEFAULT.limit), f"{where}.limit", 0, 1_000),
        backoff,
        _integer(get("delay_ms", DEFAULT.delay_ms), f"{where}.delay_ms", 0, 86_400_000),
        _integer(get("cap_ms", DEFAULT.cap_ms), f"{where}.cap_ms", 0, 2_592_000_000),
        _integer(get("jitter_percent", JITTER_PERCENT[backoff]), f"{where}.jitter_percent", 0, 100),
    )


def _submission(value: Any, where: str, rules: Rules) -> Submission:
    get = _map(value, where, _JOB_KEYS, "a job").get
    workload = get("workload")
    workload = b"" if workload is None else _bytes(workload, f"{where}.workload", rules.workload_bytes_max)
    job = Job(
        0,
        _name(get("func"), f"{where}.func"),
        _name(get("name"), f"{where}.name"),
        _due_at_ms(value, where, rules.now_ms),
        rules.now_ms,
        workload,
        len(workload),
    )
    job.dated = job.due_at_ms > rules.now_ms and get("due_at_ms") is not None
    if (headers := get("headers")) is not None:
        job.headers = _headers(headers, f"{where}.headers")
    if (priority := get("priority")) is not None:
        job.priority = _integer(priority, f"{where}.priority", -100, 100)
    if (lease_ms := get("lease_ms")) is not None:
        job.lease_ms = _integer(lease_ms, f"{where}.lease_ms", *LEASE_MS)
    if (rule := get("retry")) is not None:
        job.retry = _retry(rule, f"{where}.retry")
    if (existing := get("existing")) is not None:
        return Submission(job, _choice(existing, f"{where}.existing", EXISTING))
    return Submission(job)


def _due_at_ms(given: Mapping[str, Any], where: str, now_ms: int) -> int:
    """When the job is due; what is past is raised to now."""
    due_at_ms, delay_ms = given.get("due_at_ms"), given.get("delay_ms")
    if delay_ms is not None:
        if due_at_ms is not None:
            raise _wrong(where, "has both due_at_ms and delay_ms; give one")
        return now_ms + _delay(delay_ms, f"{where}.delay_ms", now_ms)
    if due_at_ms is not None:
        return max(now_ms, _integer(due_at_ms, f"{where}.due_at_ms", 0, TIME_MS_MAX))
    return now_ms


def _delay(delay_ms: Any, where: str, now_ms: int) -> int:
    """A wait that ends at a point in time which can be written down."""
    return _integer(delay_ms, where, 0, TIME_MS_MAX - now_ms)


def _headers(value: Any, where: str) -> dict[str, str] | None:
    if type(value) is not dict:
        raise _wrong(where, f"is a map of text to text, not {_kind(value)}")
    if len(value) > HEADERS_MAX:
        raise _wrong(where, f"has {len(value)} entries, and may have {HEADERS_MAX}")
    for key, text in value.items():
        if type(key) is not str:
            raise _wrong(where, f"has a key that is {_kind(key)}; the keys of a map are text")
        if type(text) is not str:
            raise _wrong(f"{where}.{key:.100}", f"is a text, not {_kind(text)}")
    size = sum(len(key.encode()) + len(text.encode()) for key, text in value.items())
    if size > HEADERS_BYTES_MAX:
        raise _wrong(where, f"has {size} bytes of names and values, and may have {HEADERS_BYTES_MAX}")
    return value or None


def _submissions(value: Any, where: str, rules: Rules) -> tuple[Submission, ...]:
    jobs = _array(value, where, "jobs", BATCH_JOBS_MAX)
    return tuple(_submission(job, f"{where}[{index}]", rules) for index, job in enumerate(jobs))


# -- outcomes ----------------------------------------------------------------------------------------------------------

OUTCOMES = ("done", "failed", "later")
_OUTCOME_KEYS = ("outcome", "data", "reason", "final", "delay_ms", "submit")


def outcome(value: Any, rules: Rules) -> Outcome:
    """What a worker's result stands for; what belongs to another outcome is not looked at. Raises Invalid."""
    if value is None:
        return DONE
    if type(value) is bytes or type(value) is str:
        _bytes(value, "outcome", rules.workload_bytes_max)
        return DONE
    get = _map(value, "outcome", _OUTCOME_KEYS, "an outcome").get
    if get("outcome") is None:
        raise _wrong("outcome.outcome", "is missing")
    word = _choice(get("outcome"), "outcome.outcome", OUTCOMES)
    submit = get("submit")
    follow_ons = () if submit is None else _submissions(submit, "outcome.submit", rules)
    if word == "done":
        if (data := get("data")) is not None:
            _bytes(data, "outcome.data", rules.workload_bytes_max)
        return Outcome("done", submit=follow_ons)
    delay_ms = get("delay_ms")
    delay_ms = 0 if delay_ms is None else _delay(delay_ms, "outcome.delay_ms", rules.now_ms)
    if word == "later":
        return Outcome("later", delay_ms=delay_ms, submit=follow_ons)
    reason, final = get("reason"), get("final")
    if reason is not None and type(reason) is not str:
        raise _wrong("outcome.reason", f"is a text, not {_kind(reason)}")
    return Outcome(
        "failed", reason or "", final is not None and _boolean(final, "outcome.final"), delay_ms, follow_ons
    )  # fmt: skip


# -- the methods, in protocol.md's order -------------------------------------------------------------------------------

_HELLO_KEYS = ("protocol", "client", "credit", "disconnect_grace_ms", "silence_ms", "features")
_LISTING_KEYS = ("func", "state", "after", "limit")
_STATUS_KEYS = ("prefix", "after", "limit")


def _options(value: Any, keys: tuple[str, ...], where: str = "options") -> Callable[[str], Any]:
    given: dict[str, Any] = {} if value is None else _map(value, where, keys, "these options")
    return given.get


def _id(value: Any, where: str = "options.id") -> int | None:
    return None if value is None else _integer(value, where, 1, INTEGER_MAX)


def _hello(params: list[Any], _rules: Rules) -> tuple[Hello]:
    (given,) = _params(params, 0, 1, "[] or [options]")
    if given is None:
        return (Hello(),)
    if type(given) is not dict:
        raise _wrong("options", f"is a map, not {_kind(given)}")

    def value(key: str, check: Callable[..., Any], *rule: Any) -> Any:
        each = given.get(key)
        return None if each is None else check(each, f"options.{key}", *rule)

    features = value("features", _array, "texts", FEATURES_MAX)
    return (
        Hello(
            value("protocol", _integer, 1, INTEGER_MAX),
            value("client", _text),
            value("credit", _integer, 1, CONNECTION_JOBS_MAX),
            value("disconnect_grace_ms", _integer, 0, GRACE_MS_MAX),
            value("silence_ms", _integer, SILENCE_MS, SILENCE_MS_MAX),
            None if features is None else tuple(
                _text(feature, f"options.features[{index}]") for index, feature in enumerate(features)
            ),
        ),
    )  # fmt: skip


def _nothing(params: list[Any], _rules: Rules) -> tuple[()]:
    _params(params, 0, 0, "[]")
    return ()


def _submit(params: list[Any], rules: Rules) -> tuple[Submission]:
    (job,) = _params(params, 1, 1, "[job]")
    if type(job) is list:
        raise _wrong("job", "is a map, not an array; for several jobs there is submit_batch")
    return (_submission(job, "job", rules),)


def _submit_batch(params: list[Any], rules: Rules) -> tuple[tuple[Submission, ...]]:
    (jobs,) = _params(params, 1, 1, "[[job, job, ...]]")
    return (_submissions(jobs, "jobs", rules),)


def _identity(params: list[Any], _rules: Rules) -> tuple[str, str, int | None]:
    func, name, options = _params(params, 2, 3, "[func, name] or [func, name, options]")
    return _name(func, "func"), _name(name, "name"), _id(_options(options, ("id",))("id"))


def _get(params: list[Any], _rules: Rules) -> tuple[str, str, int | None, bool]:
    func, name, options = _params(params, 2, 3, "[func, name] or [func, name, options]")
    get = _options(options, ("id", "workload"))
    workload = get("workload") is not None and _boolean(get("workload"), "options.workload")
    return _name(func, "func"), _name(name, "name"), _id(get("id")), workload


def _list(params: list[Any], _rules: Rules) -> tuple[Listing]:
    (query,) = _params(params, 0, 1, "[] or [query]")
    get = _options(query, _LISTING_KEYS, "query")
    func, state, after = get("func"), get("state"), get("after")
    return (
        Listing(
            None if func is None else _name(func, "query.func"),
            None if state is None else STATES[_choice(state, "query.state", STATES)],
            0 if after is None else _job_cursor(after, "query.after"),
            _limit(get("limit")),
        ),
    )


def job_cursor(job_id: int) -> str:
    """The cursor of a listing that ended with this job."""
    return f"j{job_id:x}"


def _job_cursor(value: Any, where: str) -> int:
    if not re.fullmatch(r"j[0-9a-f]{1,14}", _text(value, where)):
        raise _wrong(where, "is not the `next` of a page of list")
    return int(value[1:], 16)


def _limit(value: Any) -> int:
    return 100 if value is None else _integer(value, "query.limit", 1, LISTING_MAX)


def _status(params: list[Any], _rules: Rules) -> tuple[FunctionsQuery]:
    (query,) = _params(params, 0, 1, "[] or [query]")
    get = _options(query, _STATUS_KEYS, "query")
    prefix, after = get("prefix"), get("after")
    return (
        FunctionsQuery(
            "" if prefix is None else _text(prefix, "query.prefix"),
            "" if after is None else _text(after, "query.after"),
            _limit(get("limit")),
        ),
    )


def _subscribe(params: list[Any], _rules: Rules) -> tuple[str, int]:
    func, options = _params(params, 1, 2, "[func] or [func, options]")
    limit = _options(options, ("limit",))("limit")
    return _name(func, "func"), 1 if limit is None else _integer(limit, "options.limit", 1, CONNECTION_JOBS_MAX)


def _unsubscribe(params: list[Any], _rules: Rules) -> tuple[str]:
    (func,) = _params(params, 1, 1, "[func]; for all functions there is unsubscribe_all")
    return (_name(func, "func"),)


def _finish(params: list[Any], rules: Rules) -> tuple[str, Outcome]:
    handle, result = _params(params, 1, 2, "[handle, outcome]")
    return _name(handle, "handle"), outcome(result, rules)


def _extend(params: list[Any], _rules: Rules) -> tuple[str, int | None, bool]:
    handle, options = _params(params, 1, 2, "[handle] or [handle, options]")
    get = _options(options, ("lease_ms", "own"))
    lease_ms, own = get("lease_ms"), get("own")
    return (
        _name(handle, "handle"),
        None if lease_ms is None else _integer(lease_ms, "options.lease_ms", *LEASE_MS),
        own is not None and _boolean(own, "options.own"),
    )


METHODS: dict[str, Callable[[list[Any], Rules], tuple[Any, ...]]] = {
    "hello": _hello,
    "ping": _nothing,
    "submit": _submit,
    "submit_batch": _submit_batch,
    "remove": _identity,
    "requeue": _identity,
    "get": _get,
    "list": _list,
    "status": _status,
    "shutdown": _nothing,
    "subscribe": _subscribe,
    "unsubscribe": _unsubscribe,
    "unsubscribe_all": _nothing,
    "finish": _finish,
    "extend": _extend,
}
"""What the daemon answers: a method's name and what makes its params into the arguments of the scheduler's method."""
