"""When a failed job runs again: a pure function of its retry rule and its failures. No clock, no randomness.

Jitter is drawn from the job's id and its failures, so that the same job waits the same time in every replay.
"""

import json
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, Literal

Backoff = Literal["fixed", "exponential", "quadratic"]
BACKOFFS: tuple[Backoff, ...] = ("fixed", "exponential", "quadratic")
JITTER_PERCENT: dict[Backoff, int] = {"fixed": 0, "exponential": 10, "quadratic": 0}
"""Of a rule that does not say it. Jobs that failed together should not all come back together; who chooses another
backoff asks for exactly these waits."""


@dataclass(frozen=True, slots=True)
class Retry:
    """The retry rule that a job carries; protocol.md, submit.

    The defaults are what a store leaves out (``to_text``). They can not change, or what is stored would; what a client
    gets that names no rule is DEFAULT.
    """

    limit: int = 15
    """How many times a failed job is tried again."""
    backoff: Backoff = "exponential"
    delay_ms: int = 1_000
    """The unit of the wait."""
    cap_ms: int = 3_600_000
    """The longest wait, jitter included."""
    jitter_percent: int = 0

    def as_map(self) -> dict[str, Any]:
        return asdict(self)


DEFAULT = Retry(jitter_percent=JITTER_PERCENT["exponential"])


def wait_ms(retry: Retry, failures: int, seed: int) -> int | None:
    """How long a job waits that failed now, after ``failures`` failures before; None if it is given up.

    ``seed`` spreads the jitter; the job's id serves. A wait at its cap is spread below it, or those that failed
    together would come back together for ever. The quadratic wait, c * (10 + c) units, is the image
    server's of old: 0, 11, 24, 39, ... s.
    """
    if failures >= retry.limit:
        return None
    if retry.backoff == "fixed":
        wait = retry.delay_ms
    elif retry.backoff == "quadratic":
        wait = retry.delay_ms * failures * (10 + failures)
    else:
        # Past 2^42 units every cap is reached; the power itself must not grow with the limit.
        wait = retry.delay_ms << min(failures, 42)
    wait = min(wait, retry.cap_ms)
    if retry.jitter_percent:
        spread = wait * retry.jitter_percent // 100
        low = wait if wait < retry.cap_ms else retry.cap_ms - spread
        wait = low + (_scatter(seed * 1009 + failures) * min(spread, retry.cap_ms - low) >> 32)
    return wait


def _scatter(value: int) -> int:
    """A fixed, even scatter of the integers over 0 .. 2^32 - 1 (the finisher of MurmurHash3)."""
    value &= 0xFFFFFFFF
    value = (value ^ value >> 16) * 0x85EBCA6B & 0xFFFFFFFF
    value = (value ^ value >> 13) * 0xC2B2AE35 & 0xFFFFFFFF
    return value ^ value >> 16


_PLAIN = Retry()


@lru_cache(maxsize=1024)
def to_text(retry: Retry) -> str | None:
    """How a store keeps a rule: JSON of what differs from ``Retry()``, or None if nothing does."""
    changed = {key: value for key, value in asdict(retry).items() if value != getattr(_PLAIN, key)}
    return json.dumps(changed) if changed else None


@lru_cache(maxsize=1024)
def from_text(text: str | None) -> Retry:
    """The inverse of to_text."""
    return _PLAIN if text is None else Retry(**json.loads(text))
