"""What the daemon would refuse of an outcome, found where the function returned it: trying the run again cannot help.

The rules are protocol.md's (``perform``, ``submit``); tests/client/test_checks.py holds them against the daemon's own.
Nothing is sent or changed here.
"""

from typing import Any, NamedTuple, get_args

from periodic_client.outcomes import Backoff, Existing, WireOutcome, WrongValue
from periodic_client.wire.limits import (
    BATCH_JOBS_MAX,
    BROADCAST_BYTES_MAX,
    HEADERS_BYTES_MAX,
    HEADERS_MAX,
    JOB_INTEGERS,
    LOCKS_MAX,
    NAME_BYTES_MAX,
    RETRY_INTEGERS,
    TIME_MS_MAX,
    WEIGHT,
)

BACKOFFS: tuple[str, ...] = get_args(Backoff)
EXISTING: tuple[str, ...] = get_args(Existing)


class Rules(NamedTuple):
    """What the checks depend on beside the outcome."""

    workload_bytes_max: int
    now_ms: int


def check_outcome(wire: WireOutcome, rules: Rules) -> None:
    """Raises WrongValue, which names what is wrong. None is what was left out, as on the wire."""
    if not isinstance(wire, dict):
        _bytes(wire, "outcome", rules.workload_bytes_max)
        return
    _bytes(wire.get("data"), "outcome.data", rules.workload_bytes_max)
    _integer(wire.get("delay_ms"), "outcome.delay_ms", 0, TIME_MS_MAX - rules.now_ms)
    _locks(wire.get("locks") or {}, "outcome.locks")
    jobs = wire.get("submit", ())
    if len(jobs) > BATCH_JOBS_MAX:
        raise WrongValue(f"outcome.submit has {len(jobs):,} jobs, and may have {BATCH_JOBS_MAX:,}")
    for index, job in enumerate(jobs):
        _check_job(job, f"outcome.submit[{index}]", rules)
    then = wire.get("then")
    if then is not None:
        _check_job(then, "outcome.then", rules)
        for index, job in enumerate(jobs):
            if (job["func"], job["name"]) == (then["func"], then["name"]):
                raise WrongValue(f"outcome.submit[{index}] has the name of the group's own job, `then`")


def _check_job(job: dict[str, Any], where: str, rules: Rules) -> None:
    for key in ("func", "name"):
        _name(job[key], f"{where}.{key}")
    _bytes(job.get("workload"), f"{where}.workload", rules.workload_bytes_max)
    _headers(job.get("headers") or {}, f"{where}.headers")
    _locks(job.get("locks") or {}, f"{where}.locks")
    for key, (low, high) in JOB_INTEGERS.items():
        _integer(job.get(key), f"{where}.{key}", low, high)
    _integer(job.get("delay_ms"), f"{where}.delay_ms", 0, TIME_MS_MAX - rules.now_ms)
    if None not in (job.get("due_at_ms"), job.get("expires_at_ms")) and job["expires_at_ms"] <= job["due_at_ms"]:
        raise WrongValue(f"{where}.expires_at_ms is not after due_at_ms, so it would never begin")
    _choice(job.get("existing"), f"{where}.existing", EXISTING)
    _boolean(job.get("join_group"), f"{where}.join_group")
    _boolean(job.get("broadcast"), f"{where}.broadcast")
    if job.get("broadcast"):
        _check_broadcast(job, where)
    retry = job.get("retry") or {}
    for key, (low, high) in RETRY_INTEGERS.items():
        _integer(retry.get(key), f"{where}.retry.{key}", low, high)
    _choice(retry.get("backoff"), f"{where}.retry.backoff", BACKOFFS)


def _check_broadcast(job: dict[str, Any], where: str) -> None:
    if job.get("locks"):
        raise WrongValue(f"{where}.locks is not for a broadcast, whose runs wait for nothing")
    if job.get("retry") is not None:
        raise WrongValue(f"{where}.retry is not for a broadcast, of which nothing is run again")
    _bytes(job.get("workload"), f"{where}.workload", BROADCAST_BYTES_MAX)


def _headers(headers: dict[Any, Any], where: str) -> None:
    if len(headers) > HEADERS_MAX:
        raise WrongValue(f"{where} has {len(headers):,} entries, and may have {HEADERS_MAX}")
    size = 0
    for name, text in headers.items():
        if not isinstance(name, str):
            raise WrongValue(f"{where} has a name that is {_kind(name)}")
        size += _text(name, f"{where}: {name!r:.100}") + _text(text, f"{where}[{name!r:.100}]")
    if size > HEADERS_BYTES_MAX:
        raise WrongValue(f"{where} has {size:,} bytes of names and values, and may have {HEADERS_BYTES_MAX:,}")


def _locks(locks: dict[Any, Any], where: str) -> None:
    if len(locks) > LOCKS_MAX:
        raise WrongValue(f"{where} has {len(locks):,} entries, and may have {LOCKS_MAX}")
    for lock, weight in locks.items():
        if not isinstance(lock, str):
            raise WrongValue(f"{where} has a name that is {_kind(lock)}")
        _name(lock, f"{where}: {lock!r:.100}")
        if weight is None:
            raise WrongValue(f"{where}[{lock!r:.100}] is an integer, not NoneType")
        _integer(weight, f"{where}[{lock!r:.100}]", *WEIGHT)


def _name(value: Any, where: str) -> None:
    size = _text(value, where)
    if not size:
        raise WrongValue(f"{where} is empty")
    if size > NAME_BYTES_MAX:
        raise WrongValue(f"{where} has {size:,} bytes, and may have {NAME_BYTES_MAX:,}")


def _bytes(value: Any, where: str, longest: int) -> None:
    if value is None:
        return
    if not isinstance(value, bytes | bytearray | str):
        raise WrongValue(f"{where} is bytes or text, not {_kind(value)}")
    size = _text(value, where) if isinstance(value, str) else len(value)
    if size > longest:
        raise WrongValue(f"{where} has {size:,} bytes, and may have {longest:,}")


def _text(value: Any, where: str) -> int:
    """Its size in UTF-8."""
    if not isinstance(value, str):
        raise WrongValue(f"{where} is a text, not {_kind(value)}")
    try:
        return len(value.encode())
    except UnicodeEncodeError:
        raise WrongValue(f"{where} is text that has no UTF-8: {value!a:.100}") from None


def _integer(value: Any, where: str, low: int, high: int) -> None:
    if value is None:
        return
    if not isinstance(value, int) or isinstance(value, bool):
        raise WrongValue(f"{where} is an integer, not {_kind(value)}")
    if not low <= value <= high:
        raise WrongValue(f"{where} is an integer from {low:,} to {high:,}, not {value:,}")


def _boolean(value: Any, where: str) -> None:
    if value is not None and not isinstance(value, bool):
        raise WrongValue(f"{where} is a boolean, not {_kind(value)}")


def _choice(value: Any, where: str, choices: tuple[str, ...]) -> None:
    if value is not None and (not isinstance(value, str) or value not in choices):
        raise WrongValue(f"{where} is one of {', '.join(choices)}, not {value!r:.100}")


def _kind(value: Any) -> str:
    return type(value).__name__
