"""What peers say, checked: the params of each method become values, or ``Invalid`` names the field that is wrong.

Pure functions. Every value that can reach SQL passes here: integers fit 64 bits with room to spare, text is UTF-8 (the
codec saw to that), lengths are bounded. METHODS has the order and the words of protocol.md.
"""

import difflib
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

from periodic_client.wire import Invalid
from periodicd.job import STATES, Job
from periodicd.ops import Listing
from periodicd.peers import CONNECTION_JOBS_MAX
from periodicd.retry import BACKOFFS, DEFAULT, Retry

NAME_BYTES_MAX = 255
BATCH_JOBS_MAX = 1000
LISTING_MAX = 1000
TIME_MS_MAX = 253_402_300_799_999
"""The last millisecond of the year 9999: what every language's calendar can still show."""
LEASE_MS = (1_000, 86_400_000)
GRACE_MS_MAX = 600_000


class Rules(NamedTuple):
    """What the checks depend on beside the params."""

    now_ms: int
    workload_bytes_max: int


class Hello(NamedTuple):
    client: str
    credit: int
    disconnect_grace_ms: int


class Submission(NamedTuple):
    """A job as it was asked for; the scheduler gives it its id."""

    job: Job
    keep: bool


class Outcome(NamedTuple):
    """How a run ended; protocol.md, perform."""

    outcome: Literal["done", "failed", "later"]
    reason: str = ""
    retry: bool = True
    delay_ms: int | None = None
    submit: tuple[Submission, ...] = ()


DONE = Outcome("done")


# -- the smallest checks -----------------------------------------------------------------------------------------------


def _integer(value: Any, where: str, low: int, high: int) -> int:
    if type(value) is not int:
        raise Invalid(f"{where} is an integer, not {_kind(value)}")
    if not low <= value <= high:
        raise Invalid(f"{where} is from {low} to {high}, not {value}")
    return value


def _text(value: Any, where: str, longest: int = NAME_BYTES_MAX) -> str:
    if type(value) is not str:
        raise Invalid(f"{where} is a text, not {_kind(value)}")
    # Up to 63 characters need no counting: UTF-8 has 4 bytes a character at the most.
    if len(value) > 63 and len(value.encode()) > longest:
        raise Invalid(f"{where} has {len(value.encode())} bytes, and may have {longest}")
    return value


def _name(value: Any, where: str) -> str:
    if not _text(value, where):
        raise Invalid(f"{where} is empty")
    return value  # type: ignore[no-any-return]


def _bytes(value: Any, where: str, longest: int) -> bytes:
    if type(value) is str:
        value = value.encode()
    elif type(value) is not bytes:
        raise Invalid(f"{where} is bytes, not {_kind(value)}")
    if len(value) > longest:
        raise Invalid(f"{where} has {len(value)} bytes, and may have {longest}")
    return value  # type: ignore[no-any-return]


def _boolean(value: Any, where: str) -> bool:
    if type(value) is not bool:
        raise Invalid(f"{where} is true or false, not {_kind(value)}")
    return value


def _choice(value: Any, where: str, choices: Any) -> Any:
    if type(value) is not str or value not in choices:
        raise Invalid(f"{where} is one of {', '.join(choices)}, not {value!r:.100}")
    return value


def _map(value: Any, where: str, keys: Any, of: str) -> dict[str, Any]:
    if type(value) is not dict:
        raise Invalid(f"{where} is a map, not {_kind(value)}")
    for key in value:
        if key not in keys:
            near = difflib.get_close_matches(str(key)[:64], keys, 1)
            hint = f"did you mean {near[0]}?" if near else f"they are {', '.join(keys)}"
            raise Invalid(f"{where}.{key!s:.100} is not a key of {of}; {hint}")
    return value


def _kind(value: Any) -> str:
    names = {type(None): "nil", str: "a text", bytes: "bytes", list: "an array", dict: "a map", bool: "a boolean"}
    return names.get(type(value)) or type(value).__name__


def _count(params: list[Any], low: int, high: int, form: str) -> None:
    if not low <= len(params) <= high:
        raise Invalid(f"the params are {form}; {len(params)} were given")


# -- jobs --------------------------------------------------------------------------------------------------------------

_RETRY_KEYS = ("limit", "backoff", "delay_ms", "cap_ms", "jitter_percent")
_JOB_KEYS = ("func", "name", "workload", "due_ms", "delay_ms", "priority", "lease_ms", "retry", "keep")


def _retry(value: Any, where: str) -> Retry:
    rule = _map(value, where, _RETRY_KEYS, "a retry rule")
    get = rule.get
    return Retry(
        _integer(get("limit", DEFAULT.limit), f"{where}.limit", 0, 1_000),
        _choice(get("backoff", DEFAULT.backoff), f"{where}.backoff", BACKOFFS),
        _integer(get("delay_ms", DEFAULT.delay_ms), f"{where}.delay_ms", 0, 86_400_000),
        _integer(get("cap_ms", DEFAULT.cap_ms), f"{where}.cap_ms", 0, 2_592_000_000),
        _integer(get("jitter_percent", DEFAULT.jitter_percent), f"{where}.jitter_percent", 0, 100),
    )


def _submission(value: Any, where: str, rules: Rules) -> Submission:
    given = _map(value, where, _JOB_KEYS, "a job")
    for key in ("func", "name"):
        if key not in given:
            raise Invalid(f"{where}.{key} is missing")
    workload = _bytes(given.get("workload", b""), f"{where}.workload", rules.workload_bytes_max)
    job = Job(
        0,
        _name(given["func"], f"{where}.func"),
        _name(given["name"], f"{where}.name"),
        _due_ms(given, where, rules.now_ms),
        rules.now_ms,
        workload,
        len(workload),
    )
    if "priority" in given:
        job.priority = _integer(given["priority"], f"{where}.priority", -100, 100)
    if "lease_ms" in given:
        job.lease_ms = _integer(given["lease_ms"], f"{where}.lease_ms", *LEASE_MS)
    if "retry" in given:
        job.retry = _retry(given["retry"], f"{where}.retry")
    return Submission(job, "keep" in given and _boolean(given["keep"], f"{where}.keep"))


def _due_ms(given: Mapping[str, Any], where: str, now_ms: int) -> int:
    if "delay_ms" in given:
        if "due_ms" in given:
            raise Invalid(f"{where} has both due_ms and delay_ms; give one")
        return _after(given["delay_ms"], f"{where}.delay_ms", now_ms)
    if "due_ms" in given:
        return _integer(given["due_ms"], f"{where}.due_ms", 0, TIME_MS_MAX)
    return now_ms


def _after(delay: Any, where: str, now_ms: int) -> int:
    """The point in time that lies ``delay`` ms ahead."""
    return now_ms + _integer(delay, where, 0, TIME_MS_MAX - now_ms)


def _submissions(value: Any, where: str, rules: Rules) -> tuple[Submission, ...]:
    if type(value) is not list:
        raise Invalid(f"{where} is an array of jobs, not {_kind(value)}")
    if len(value) > BATCH_JOBS_MAX:
        raise Invalid(f"{where} has {len(value)} jobs, and may have {BATCH_JOBS_MAX}")
    return tuple(_submission(job, f"{where}[{index}]", rules) for index, job in enumerate(value))


# -- outcomes ----------------------------------------------------------------------------------------------------------

_OUTCOME_KEYS = {
    "done": ("outcome", "data", "submit"),
    "failed": ("outcome", "reason", "retry", "delay_ms", "submit"),
    "later": ("outcome", "delay_ms", "submit"),
}
_ALL_OUTCOME_KEYS = ("outcome", "data", "reason", "retry", "delay_ms", "submit")


def outcome(value: Any, rules: Rules) -> Outcome:
    """The outcome that a worker's result stands for. Raises Invalid."""
    if value is None or type(value) is bytes or type(value) is str:
        return DONE
    given = _map(value, "outcome", _ALL_OUTCOME_KEYS, "an outcome")
    if "outcome" not in given:
        raise Invalid("outcome.outcome is missing")
    word = _choice(given["outcome"], "outcome.outcome", _OUTCOME_KEYS)
    for key in given:
        if key not in _OUTCOME_KEYS[word]:
            raise Invalid(f"outcome.{key} does not go with {word!r}")
    _bytes(given.get("data", b""), "outcome.data", rules.workload_bytes_max)
    reason = given.get("reason", "")
    if type(reason) is not str:
        raise Invalid(f"outcome.reason is a text, not {_kind(reason)}")
    delay_ms = given.get("delay_ms")
    if delay_ms is not None:
        _after(delay_ms, "outcome.delay_ms", rules.now_ms)
    return Outcome(
        word,
        reason,
        _boolean(given.get("retry", True), "outcome.retry"),
        delay_ms,
        _submissions(given.get("submit", []), "outcome.submit", rules),
    )


# -- the methods, in protocol.md's order -------------------------------------------------------------------------------

_HELLO_KEYS = ("client", "credit", "disconnect_grace_ms")
_LISTING_KEYS = ("func", "state", "after", "limit")


def _hello(params: list[Any], _rules: Rules) -> tuple[Hello]:
    _count(params, 0, 1, "[] or [options]")
    options = _map(params[0] if params else {}, "options", _HELLO_KEYS, "hello's options")
    return (
        Hello(
            _text(options.get("client", ""), "options.client"),
            _integer(options.get("credit", CONNECTION_JOBS_MAX), "options.credit", 1, CONNECTION_JOBS_MAX),
            _integer(options.get("disconnect_grace_ms", 0), "options.disconnect_grace_ms", 0, GRACE_MS_MAX),
        ),
    )


def _nothing(params: list[Any], _rules: Rules) -> tuple[()]:
    _count(params, 0, 0, "[]")
    return ()


def _submit(params: list[Any], rules: Rules) -> tuple[tuple[Submission, ...], bool]:
    _count(params, 1, 1, "[job] or [[job, job, ...]]")
    if type(params[0]) is list:
        return _submissions(params[0], "jobs", rules), True
    return (_submission(params[0], "job", rules),), False


def _identity(params: list[Any], _rules: Rules) -> tuple[str, str]:
    _count(params, 2, 2, "[func, name]")
    return _name(params[0], "func"), _name(params[1], "name")


def _list(params: list[Any], _rules: Rules) -> tuple[Listing]:
    _count(params, 0, 1, "[] or [query]")
    query = _map(params[0] if params else {}, "query", _LISTING_KEYS, "a query")
    return (
        Listing(
            _name(query["func"], "query.func") if "func" in query else None,
            STATES[_choice(query["state"], "query.state", STATES)] if "state" in query else None,
            _integer(query.get("after", 0), "query.after", 0, 2**63 - 1),
            _integer(query.get("limit", 100), "query.limit", 1, LISTING_MAX),
        ),
    )


def _subscribe(params: list[Any], _rules: Rules) -> tuple[str, int]:
    _count(params, 2, 2, "[func, limit]")
    return _name(params[0], "func"), _integer(params[1], "limit", 1, CONNECTION_JOBS_MAX)


def _unsubscribe(params: list[Any], _rules: Rules) -> tuple[str | None]:
    _count(params, 0, 1, "[func] or []")
    return (_name(params[0], "func") if params else None,)


def _finish(params: list[Any], rules: Rules) -> tuple[str, Outcome]:
    _count(params, 2, 2, "[handle, outcome]")
    return _text(params[0], "handle"), outcome(params[1], rules)


def _extend(params: list[Any], _rules: Rules) -> tuple[str, int | None]:
    _count(params, 1, 2, "[handle] or [handle, lease_ms]")
    return _text(params[0], "handle"), _integer(params[1], "lease_ms", *LEASE_MS) if len(params) == 2 else None


METHODS: dict[str, Callable[[list[Any], Rules], tuple[Any, ...]]] = {
    "hello": _hello,
    "ping": _nothing,
    "submit": _submit,
    "remove": _identity,
    "requeue": _identity,
    "get": _identity,
    "list": _list,
    "status": _nothing,
    "shutdown": _nothing,
    "subscribe": _subscribe,
    "unsubscribe": _unsubscribe,
    "finish": _finish,
    "extend": _extend,
}
"""What the daemon answers: a method's name and what makes its params into the arguments of the scheduler's method."""
