"""How the page says no: a status, and words that tell what was wrong and what to do. Where things are on this machine
or behind it is for the log, not for strangers.
"""

import logging
from math import ceil

_AWAY_S = 5

_log = logging.getLogger(__name__)


class Refusal(Exception):
    """The request is not served. `retry_after_s`: when it may be, None if never as it is."""

    def __init__(self, status: int, words: str, retry_after_s: float | None = None) -> None:
        super().__init__(words)
        self.status = status
        self.words = words
        self.retry_after_s = None if retry_after_s is None else max(1, ceil(retry_after_s))

    @property
    def headers(self) -> dict[str, str]:
        headers = {} if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}
        return headers | ({"WWW-Authenticate": "Bearer"} if self.status == 401 else {})


def away(error: Exception) -> Refusal:
    _log.warning("the daemon is away: %s", error)
    return Refusal(503, "the job server cannot be reached, so nothing was done; try again soon", _AWAY_S)
